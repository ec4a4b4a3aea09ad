//! What is fuzzed: the code that reads what strangers write. Each target takes any bytes, and panics if they break a
//! property. `make fuzz` runs them under libFuzzer; the test `corpus` runs them on the inputs that are kept.

mod events;
mod frames;
mod query;
mod service;
mod signatures;
mod webhooks;

/// Runs one input.
pub type Target = fn(&[u8]);

/// The targets by name, which is also the name of their folder in `tests/corpus`.
pub const TARGETS: [(&str, Target); 5] = [
    ("webhooks", webhooks::parse),
    ("signatures", signatures::verify),
    ("events", events::read),
    ("query", query::ask),
    ("frames", frames::send),
];

/// The target with this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|(known, _)| *known == name).map(|(_, target)| target)
}
