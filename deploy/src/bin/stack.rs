//! The binary of the one-machine stack; the code is in `stack/`.

fn main() -> std::process::ExitCode {
    deploy::stack::main()
}
