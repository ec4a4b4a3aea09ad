//! Commands as a person copies them.

/// `ops` with these words, quoted for a shell where they need it.
pub(super) fn ops(words: &[&str]) -> String {
    let words = std::iter::once("ops").chain(words.iter().copied());
    // Only a word with a zero byte can't be quoted; no id or time has one.
    shlex::try_join(words).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_a_shell_would_read_otherwise_is_quoted() {
        assert_eq!(
            ops(&["reprocess", "--reason", "no recipient; rm x"]),
            "ops reprocess --reason 'no recipient; rm x'"
        );
    }
}
