//! Everything on one machine; everything is in the library.

fn main() -> std::process::ExitCode {
    deploy::stack::main()
}
