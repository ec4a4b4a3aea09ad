//! A folder for one test. It is removed at the test's end, and kept if the test fails.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

/// Lines shown of each log.
const LINES: usize = 20;
/// Bytes read from each log's end.
const TAIL: u64 = 32 * 1024;

/// A folder inside the project's target folder. When a panic drops it, it stays and prints its path and the ends of its
/// logs; else it is removed.
#[derive(Debug)]
pub struct Scratch(Option<TempDir>);

impl Scratch {
    /// Creates an empty folder.
    ///
    /// # Errors
    /// It can't be made.
    pub fn new() -> anyhow::Result<Self> {
        let parent = super::tools::project().join("target/test-state");
        fs::create_dir_all(&parent).with_context(|| format!("can't make {}", parent.display()))?;
        Ok(Self(Some(tempfile::Builder::new().prefix("t").tempdir_in(parent)?)))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), TempDir::path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take().filter(|_| std::thread::panicking()) {
            let folder = folder.keep();
            // Through eprintln!, which the test harness captures.
            eprintln!("\nkept {}\n{}", folder.display(), log_ends(&folder));
        }
    }
}

/// The ends of all logs in a state folder.
fn log_ends(folder: &Path) -> String {
    let logs = fs::read_dir(folder.join("logs")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut logs: Vec<PathBuf> =
        logs.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    logs.sort();
    let shown = logs.iter().map(|log| {
        let tail = tail(log).unwrap_or_else(|error| format!("can't be read: {error}"));
        format!("--- {} ends with\n{tail}\n", log.display())
    });
    shown.collect()
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end);
    let lines: Vec<_> = end.lines().collect();
    Ok(lines[lines.len().saturating_sub(LINES)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let folder = Scratch::new().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        let lines: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
        fs::write(folder.path().join("logs/one.log"), lines).unwrap();
        fs::write(folder.path().join("logs/other.txt"), "not a log").unwrap();
        let words = log_ends(folder.path());
        assert_eq!(words.lines().count(), LINES + 1, "{words}");
        assert!(
            words.contains("one.log ends with\nline 99980\n") && words.ends_with("line 99999\n"),
            "{words}"
        );
    }

    #[test]
    fn a_folder_is_kept_only_if_its_owner_panics() {
        let gone = Scratch::new().unwrap().path().to_owned();
        assert!(!gone.exists());
        let (tell, told) = std::sync::mpsc::channel();
        let failing = std::thread::spawn(move || {
            let folder = Scratch::new().unwrap();
            tell.send(folder.path().to_owned()).unwrap();
            panic!("on purpose");
        });
        assert!(failing.join().is_err());
        let kept = told.recv().unwrap();
        assert!(kept.is_dir());
        fs::remove_dir_all(kept).unwrap();
    }
}
