//! The realtime gateway's binary; everything is in the library.

fn main() -> std::process::ExitCode {
    common::service::main(realtime_gateway::run)
}
