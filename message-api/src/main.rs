//! The binary; everything is in the library.

fn main() -> std::process::ExitCode {
    common::service::main(message_api::run)
}
