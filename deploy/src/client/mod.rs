//! A front end's part: its token, sending messages, and the Socket.IO client.

pub mod token;
pub mod traffic;
pub mod watch;
