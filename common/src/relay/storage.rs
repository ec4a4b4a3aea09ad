//! What the broker says when its own disk is full.

use std::error::Error;

/// In the words of nats-server, of its codes 10023, 10047 and 10077, and of the system.
const FULL: [&str; 5] = [
    "no space left",
    "insufficient storage",
    "insufficient resources",
    "storage resources exceeded",
    "resource limits exceeded",
];

/// Whether an error of the broker, or what is behind it, says that nothing more can be stored.
pub(super) fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let said = error.to_string().to_lowercase();
        if FULL.iter().any(|words| said.contains(words)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_by_what_the_broker_says() {
        let error = |said: &str| std::io::Error::other(said.to_owned());
        assert!(is_full(&error("write /var/lib/nats/1.blk: no space left on device")));
        assert!(is_full(&error("503 error 10047: Insufficient Storage Resources Exceeded on server")));
        assert!(!is_full(&error("timed out")));
    }
}
