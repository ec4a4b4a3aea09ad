//! Everything on one machine.
fn main() {
    if std::env::args().nth(1).as_deref() == Some("guard") {
        deploy::guard::run();
    }
}
