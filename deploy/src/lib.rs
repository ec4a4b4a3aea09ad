//! How the suite is run: everything on one machine ([`stack`]), a Telnyx to try it against ([`simulator`]), and what
//! operators do ([`provision`]). The programs `stack` and `ops`, and the tests, are made of these pieces.

pub mod demo;
pub mod guard;
pub mod installation;
mod layout;
pub mod nats;
pub mod occupancy;
pub mod ports;
pub mod postgres;
pub mod processes;
pub mod provision;
pub mod scratch;
pub mod services;
pub mod simulator;
pub mod stack;
pub mod stack_file;
pub mod token;
pub mod tools;
pub mod traffic;
pub mod watch;
