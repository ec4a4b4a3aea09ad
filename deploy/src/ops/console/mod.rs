//! `ops console`: the operators' questions by eye, in a browser on this machine.
//!
//! Each view shows what a command reads, and each change does what a command does. The server gives nothing to a request
//! without the cookie that the one-time token of the printed address is exchanged for, and changes nothing unless it was
//! started with `--allow-changes`.

mod action_log;
mod answer;
mod apply;
mod change;
mod churches;
mod command;
mod files;
mod guard;
mod mask;
mod messages;
mod now;
mod options;
mod preview;
mod samples;
mod scrape;
mod server;
mod session;
mod site;
mod tail;
mod webhooks;
mod work;

#[cfg(test)]
pub(super) use change::examples;
pub(super) use options::Console;
pub(super) use server::run;
