//! The binary of message-api; the code is in the library.

fn main() -> std::process::ExitCode {
    common::service::main(message_api::run)
}
