//! The binary of the operators' commands; the code is in `ops/`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    deploy::ops::main().await
}
