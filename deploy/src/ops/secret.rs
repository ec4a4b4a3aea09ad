//! Fresh secrets.

use std::fmt::Write as _;

use anyhow::Context as _;

/// 32 random bytes in hexadecimal, which no file format misreads.
pub(super) fn secret() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).context("the machine gives no random numbers")?;
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}
