//! What a machine needs to run the programs.

use std::path::Path;

use anyhow::Context as _;

/// How a program names a version of glibc that it needs.
const MARK: &[u8] = b"GLIBC_2.";

/// The oldest glibc (its number after `2.`) that has everything that these programs call. None if they call nothing of
/// it.
///
/// # Errors
/// A program can't be read.
pub fn oldest_glibc<'a>(programs: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<Option<u32>> {
    let mut newest_call = None;
    for program in programs {
        let bytes = std::fs::read(program).with_context(|| format!("can't read {}", program.display()))?;
        newest_call = newest_call.max(newest_version(&bytes));
    }
    Ok(newest_call)
}

/// The linker looks for the newest version that a program names.
fn newest_version(program: &[u8]) -> Option<u32> {
    let marks = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    marks.filter_map(|(at, _)| number(&program[at + MARK.len()..])).max()
}

fn number(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_named_version_counts_by_number() {
        assert_eq!(newest_version(b"..GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0"), Some(34));
        assert_eq!(newest_version(b"GLIBC_2."), None);
    }
}
