//! Times on the command line.

use common::event::timestamp;
use time::{Duration, OffsetDateTime};

/// Reads a moment: `2026-11-22T20:15:00Z`.
pub(super) fn time(text: &str) -> Result<OffsetDateTime, String> {
    timestamp::parse(text).ok_or_else(|| "write a time as 2026-11-22T20:15:00Z".into())
}

/// Reads a moment of the past, or how long ago it was: `90s`, `15m`, `6h`, `3d`.
pub(super) fn since(text: &str) -> Result<OffsetDateTime, String> {
    let now = OffsetDateTime::now_utc();
    let at = ago(text).and_then(|ago| now.checked_sub(ago)).or_else(|| timestamp::parse(text));
    let at = at.ok_or("write a time as 2026-11-22T20:15:00Z, or how long ago: 90s, 15m, 6h, 3d")?;
    if at > now { Err("this time has not come yet".into()) } else { Ok(at) }
}

fn ago(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).filter(|seconds| *seconds >= 0).map(Duration::seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago_it_was() {
        assert_eq!(ago("6h"), Some(Duration::hours(6)));
        assert_eq!(since("2026-01-22T20:15:00Z").unwrap().unix_timestamp(), 1_769_112_900);
        for wrong in ["", "6", "6w", "-6h", "yesterday", "99999999999999999d", "9999-01-01T00:00:00Z"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
