//! What a front end has: a token, a message to send, and a Socket.IO client to watch with.

pub mod token;
pub mod traffic;
pub mod watch;
