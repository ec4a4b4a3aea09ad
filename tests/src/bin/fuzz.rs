//! Runs the target named by `FUZZ_TARGET` under libFuzzer, whose arguments it takes: `make fuzz`.

#![no_main]
#![expect(clippy::panic, reason = "a wrong name ends it")]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tests::fuzz::{TARGETS, Target, target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("set FUZZ_TARGET to one of {:?}", TARGETS.map(|(name, _)| name)))
});

fuzz_target!(|data: &[u8]| TARGET(data));
