//! Everything on one machine: nats-server with the project's `nats.conf`, the database, the Telnyx simulator (in this
//! process) and the real service binaries. The program `stack` and the tests use the same code.

mod arguments;
mod commands;
mod demo;
mod installation;
mod layout;
mod lock;
mod ops_env;
mod options;
mod running;
mod stack_file;
mod trigger;
mod up;

pub use commands::main;
pub use installation::Database;
pub use lock::stop_running;
pub use options::StackOptions;
pub use running::Stack;
pub use stack_file::{MovedPort, NatsAccess, OpsUrls, StackFile, TelnyxKey};
