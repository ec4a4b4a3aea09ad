//! `live:degraded`: tells clients that events may be late.

use serde::Serialize;

/// The event's name.
pub(crate) const DEGRADED: &str = "live:degraded";

/// Why events may be late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// The stream does not answer.
    Unreachable,
    /// Events are missing that can't be read.
    Gap,
}

/// A time in which events may be late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Degradation {
    /// Why.
    pub(crate) cause: Cause,
    /// Since when.
    pub(crate) since: String,
}

/// What clients are told when a degradation begins and when it ends.
#[derive(Debug, Serialize)]
pub(crate) struct Degraded<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    degraded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a str>,
}

impl<'a> Degraded<'a> {
    /// Announces a degradation, or with `None` its end.
    pub(crate) fn of(degradation: Option<&'a Degradation>) -> Self {
        Self {
            name: DEGRADED,
            degraded: degradation.is_some(),
            reason: degradation.map(|degradation| degradation.cause),
            since: degradation.map(|degradation| &*degradation.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_is_its_golden_file() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../golden/degraded.json")).unwrap();
        let degradation = Degradation { cause: Cause::Gap, since: "2026-11-22T20:15:31.123Z".into() };
        for (number, degradation) in [Some(&degradation), None].into_iter().enumerate() {
            assert_eq!(golden[number]["name"], DEGRADED);
            assert_eq!(golden[number]["body"], serde_json::to_value(Degraded::of(degradation)).unwrap());
        }
    }
}
