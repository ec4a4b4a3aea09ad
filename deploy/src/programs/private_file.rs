//! Files that only their owner can read.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

/// Writes such a file, atomically.
///
/// # Errors
/// The file can't be written.
pub(crate) fn write_private(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let fresh = file.with_extension("fresh");
    let _ = fs::remove_file(&fresh);
    let write = || {
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        out.write_all(content)?;
        fs::rename(&fresh, file)
    };
    write().with_context(|| format!("can't write {}", file.display()))
}
