//! The binary of webhook-ingest; the code is in the library.

use std::process::ExitCode;

use webhook_ingest::Settings;

fn main() -> ExitCode {
    common::service::main::<Settings, _, _>(webhook_ingest::run)
}
