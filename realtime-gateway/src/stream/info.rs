//! What the stream's leader says of it: the answer to STREAM.INFO.

use std::collections::BTreeMap;

use common::event::timestamp;
use serde::Deserialize;

use crate::stream::error::ReadError;

/// Messages that one Raft operation may carry. A replica's lag is counted in operations, so reads of a replicated
/// stream prove nothing about its newest messages; the gateway needs those in memory.
pub(crate) const MESSAGES_OF_AN_OPERATION: u64 = 512;

/// Where the stream begins and ends, as its leader says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// When it was created, in nanoseconds since the epoch.
    pub(crate) created: u64,
    /// The oldest sequence that is kept.
    pub(crate) first: u64,
    /// The last sequence; below `first` while the stream is empty.
    pub(crate) last: u64,
    /// Messages that the slowest replica may lack; `None` without replicas.
    pub(crate) lag: Option<u64>,
    /// The replicas besides the leader.
    pub(crate) replicas: Replicas,
}

/// The replicas besides the leader, counted by their state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// Those that have what the leader has.
    pub(crate) current: i64,
    /// Those that lack something.
    pub(crate) lagging: i64,
    /// Those that can't be reached.
    pub(crate) offline: i64,
}

impl Extent {
    /// Whether every replica has everything up to a sequence.
    pub(crate) fn is_everywhere(&self, sequence: u64) -> bool {
        self.last.saturating_sub(self.lag.unwrap_or(0)) >= sequence
    }
}

/// The part of the answer to STREAM.INFO that is needed.
#[derive(Deserialize)]
struct Info {
    created: Option<String>,
    state: Option<State>,
    cluster: Option<Cluster>,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct State {
    first_seq: u64,
    last_seq: u64,
    /// Messages by subject, if the question asked for them.
    #[serde(default)]
    subjects: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct ApiError {
    code: u16,
    description: String,
}

fn parse_info(answer: &[u8]) -> Result<Info, ReadError> {
    let info: Info =
        serde_json::from_slice(answer).map_err(|error| ReadError::Unavailable(error.to_string()))?;
    match info.error {
        Some(ApiError { code: 404, .. }) => Err(ReadError::NoStream),
        Some(error) => Err(ReadError::Unavailable(error.description)),
        None if info.cluster.as_ref().is_some_and(|cluster| !cluster.is_led()) => {
            Err(ReadError::Unavailable("no server leads it at the moment".into()))
        }
        None => Ok(info),
    }
}

/// How many messages match the filter of the question.
///
/// # Errors
/// The leader refused, or the answer is malformed.
pub(crate) fn parse_count(answer: &[u8]) -> Result<u64, ReadError> {
    let state = parse_info(answer)?.state;
    Ok(state.map_or(0, |state| state.subjects.values().sum()))
}

/// Where the stream begins and ends.
///
/// # Errors
/// The leader refused, or the answer is malformed.
pub(crate) fn parse_extent(answer: &[u8]) -> Result<Extent, ReadError> {
    let malformed = |what: String| ReadError::Unavailable(what);
    match parse_info(answer)? {
        Info { created: Some(created), state: Some(state), cluster, .. } => {
            let created = timestamp::parse(&created)
                .ok_or_else(|| malformed(format!("its creation time is {created:?}")))?;
            let created = created.unix_timestamp_nanos() as u64;
            let cluster = cluster.unwrap_or_default();
            let (lag, replicas) = (cluster.lag(), cluster.replicas());
            Ok(Extent { created, first: state.first_seq, last: state.last_seq, lag, replicas })
        }
        _ => Err(malformed("the answer of its leader has no state".into())),
    }
}

/// The leader, and the replicas besides the server that answers.
#[derive(Default, Deserialize)]
struct Cluster {
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    #[serde(default)]
    name: String,
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
    /// Nanoseconds since it was last heard.
    #[serde(default)]
    active: u64,
    #[serde(default)]
    lag: u64,
}

/// A leader hears from each replica once a second.
const HEARD_WITHIN: u64 = 4_000_000_000;

impl Cluster {
    /// Whether the server that answers leads the stream and most servers follow it. While there is no leader, every
    /// server answers of what it has itself, also one that was cut off or whose disk was emptied; a leader that was cut
    /// off does so for some seconds.
    fn is_led(&self) -> bool {
        let is_leaders = self.replicas.iter().all(|replica| replica.name != self.leader);
        let heard = self.replicas.iter().filter(|it| !it.offline && it.active <= HEARD_WITHIN).count();
        !self.leader.is_empty() && is_leaders && 2 * (heard + 1) > self.replicas.len() + 1
    }

    /// Messages that a replica may lack: its reported lag and one more operation, because it may not have applied the
    /// last one that it acknowledged. An offline replica answers no reads.
    fn lag(&self) -> Option<u64> {
        let lags = self.replicas.iter().map(|replica| if replica.offline { 0 } else { replica.lag + 1 });
        lags.max().map(|operations| operations.saturating_mul(MESSAGES_OF_AN_OPERATION))
    }

    fn replicas(&self) -> Replicas {
        let mut replicas = Replicas::default();
        for replica in &self.replicas {
            match replica {
                Replica { offline: true, .. } => replicas.offline += 1,
                Replica { current: true, .. } => replicas.current += 1,
                _ => replicas.lagging += 1,
            }
        }
        replicas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extent_is_read_from_the_servers_answer() {
        let answer = br#"{"type":"io.nats.jetstream.api.v1.stream_info_response","config":{},
            "created":"2026-11-22T20:15:31.123456789Z","state":{"messages":3,"first_seq":5,"last_seq":7}}"#;
        let extent = parse_extent(answer).unwrap();
        assert_eq!((extent.first, extent.last, extent.lag), (5, 7, None));
        assert_eq!(extent.created % 1_000_000_000, 123_456_789);
    }

    #[test]
    fn the_slowest_replica_that_answers_counts() {
        let with = |cluster: &str| {
            let answer = format!(
                r#"{{"created":"2026-11-22T20:15:31Z","state":{{"first_seq":1,"last_seq":7}},"cluster":{cluster}}}"#
            );
            let extent = parse_extent(answer.as_bytes()).unwrap();
            (extent.lag, extent.replicas)
        };
        assert_eq!(with(r#"{"leader":"a"}"#), (None, Replicas::default()));
        let replicas = |lag: u64, offline: bool| {
            format!(
                r#"{{"leader":"a","replicas":[{{"name":"b","current":true,"active":1}},
                {{"name":"c","current":false,"offline":{offline},"active":1,"lag":{lag}}}]}}"#
            )
        };
        let one = Replicas { current: 1, ..Replicas::default() };
        let lagging = (Some(4 * MESSAGES_OF_AN_OPERATION), Replicas { lagging: 1, ..one });
        assert_eq!(with(&replicas(3, false)), lagging);
        let offline = (Some(MESSAGES_OF_AN_OPERATION), Replicas { offline: 1, ..one });
        assert_eq!(with(&replicas(3, true)), offline);
    }

    #[test]
    fn only_the_leader_of_most_servers_is_believed() {
        let with = |leader: &str, replicas: [(&str, u64); 2]| {
            let replicas = replicas.map(|(name, active)| format!(r#"{{"name":"{name}","active":{active}}}"#));
            let answer = format!(
                r#"{{"created":"2026-11-22T20:15:31Z","state":{{"first_seq":1,"last_seq":7}},
                "cluster":{{"leader":"{leader}","replicas":[{}]}}}}"#,
                replicas.join(",")
            );
            parse_extent(answer.as_bytes()).is_ok()
        };
        const LONG: u64 = HEARD_WITHIN + 1;
        assert!(with("a", [("b", 1), ("c", 1)]));
        assert!(with("a", [("b", 1), ("c", LONG)]));
        // Cut off.
        assert!(!with("a", [("b", LONG), ("c", LONG)]));
        // Nobody leads.
        assert!(!with("", [("b", 1), ("c", 1)]));
        // Another server leads than the one that answers.
        assert!(!with("b", [("b", 1), ("c", 1)]));
    }

    #[test]
    fn the_messages_of_all_matching_subjects_are_counted() {
        let with = |subjects: &str| {
            let state = format!(r#"{{"state":{{"first_seq":1,"last_seq":7{subjects}}}}}"#);
            parse_count(state.as_bytes())
        };
        assert_eq!(with(r#","subjects":{"church.a.revoked":2,"church.b.revoked":1}"#), Ok(3));
        assert_eq!(with(""), Ok(0));
    }

    #[test]
    fn a_missing_stream_says_what_to_do() {
        let answer = br#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        let error = parse_extent(answer).unwrap_err();
        assert!(error.to_string().contains("ops provision"), "{error}");
        assert!(matches!(parse_extent(b"{}"), Err(ReadError::Unavailable(_))));
    }
}
