//! The binary of the operators' commands; the code is in `ops/`.

fn main() -> std::process::ExitCode {
    deploy::ops::main()
}
