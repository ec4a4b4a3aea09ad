//! The HTTP edge: parses requests and checks limits before the Socket.IO library sees a request.

mod bad_request;
mod engine_io;
pub(crate) mod operators;
mod request;
pub(crate) mod server;
mod websocket;
