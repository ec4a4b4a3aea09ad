//! The fuzzer's inputs that are kept break no property. Each target has its folder in `tests/corpus`; what crashed the
//! fuzzer once is in it.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Mutex;

use tests::fuzz::{TARGETS, Target};

/// Panics of all threads, also of a service's tasks, which catch them.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[test]
fn no_input_that_is_kept_breaks_a_property() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    panic::set_hook(Box::new(|panic| PANICS.lock().unwrap().push(panic.to_string())));
    let mut wrong = Vec::new();
    for (name, run) in TARGETS {
        let entries = std::fs::read_dir(corpus.join(name)).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        wrong.extend(files.into_iter().map(|file| (panics(run, &file), file)));
    }
    let _ = panic::take_hook();
    wrong.retain(|(panics, _)| !panics.is_empty());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn panics(run: Target, file: &Path) -> Vec<String> {
    let data = std::fs::read(file).unwrap();
    let _ = panic::catch_unwind(AssertUnwindSafe(|| run(&data)));
    std::mem::take(&mut *PANICS.lock().unwrap())
}
