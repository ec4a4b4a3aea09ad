//! The operators' commands; everything is in the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    deploy::ops::main().await
}
