//! What the page may change, and the command that does the same.

use common::claims::{IdClaim, Person};
use common::subject::ChurchId;
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use uuid::Uuid;

use super::command;
use crate::ops::times::since;

/// Longest id of a person, in bytes.
const LONGEST_ID: usize = 256;

/// A change that somebody asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "change", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(super) enum Change {
    /// What has not left yet is not sent.
    Cancel { id: Uuid },
    /// Sends again to those that failed for a passing reason.
    Retry { id: Uuid, include_unresolved: bool },
    /// Pauses sending of a church; of everybody if the church is null.
    Pause {
        #[serde(deserialize_with = "stated")]
        church: Option<ChurchId>,
    },
    /// Resumes sending.
    Resume {
        #[serde(deserialize_with = "stated")]
        church: Option<ChurchId>,
    },
    /// Processes kept webhooks again: these, or those with a reason.
    Reprocess { which: Which },
    /// Sends stored events to a church's browsers again.
    Replay { church: ChurchId, since: Moment, message: Option<Uuid>, rate: u32 },
    /// Revokes the tokens of a person, or of the whole church.
    Revoke { church: ChurchId, whose: Whose },
    /// Accepts them again.
    UndoRevocation { church: ChurchId, whose: Whose },
    /// Lets the relay announce lost events again.
    Repair,
}

/// Which webhooks are processed again.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Which {
    /// These.
    Events(EventIds),
    /// Those whose reason contains this.
    Reason(Reason),
}

/// Ids of webhooks; at least one. None would be no filter.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(super) struct EventIds(pub(super) Vec<String>);

impl TryFrom<Vec<String>> for EventIds {
    type Error = &'static str;

    fn try_from(ids: Vec<String>) -> Result<Self, Self::Error> {
        if ids.is_empty() { Err("no webhook is chosen") } else { Ok(Self(ids)) }
    }
}

/// A part of a reason; not empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Reason(pub(super) String);

impl TryFrom<String> for Reason {
    type Error = &'static str;

    fn try_from(reason: String) -> Result<Self, Self::Error> {
        if reason.trim().is_empty() { Err("the reason is empty") } else { Ok(Self(reason)) }
    }
}

/// Reads a field that may be null and must not be left out.
fn stated<'de, D: Deserializer<'de>>(field: D) -> Result<Option<ChurchId>, D::Error> {
    Option::deserialize(field)
}

/// A moment as somebody wrote it: a time, or how long ago.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Moment {
    written: String,
    pub(super) at: OffsetDateTime,
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        let at = since(&written)?;
        Ok(Self { written, at })
    }
}

/// Whose tokens. Everybody is a word of its own, so that a forgotten id revokes nobody's.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Whose {
    /// Those of all people of the church.
    Everybody,
    /// Those of one.
    Person(Named),
}

/// A person, as a token names it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    claim: Claim,
    id: PersonId,
}

/// The id of a person; not empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct PersonId(String);

impl TryFrom<String> for PersonId {
    type Error = String;

    fn try_from(id: String) -> Result<Self, String> {
        match id.trim().len() {
            0 => {
                Err("the person has no id; to revoke the tokens of the whole church, ask for everybody"
                    .into())
            }
            1..=LONGEST_ID => Ok(Self(id.trim().to_owned())),
            _ => Err(format!("the person's id has more than {LONGEST_ID} bytes")),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Claim {
    #[serde(rename = "userId")]
    User,
    #[serde(rename = "adminId")]
    Admin,
    #[serde(rename = "sub")]
    Sub,
}

impl Whose {
    /// The person; none for everybody.
    pub(super) fn person(&self) -> Option<Person> {
        match self {
            Self::Everybody => None,
            Self::Person(named) => Some(named.person()),
        }
    }
}

impl Named {
    fn person(&self) -> Person {
        let claim = match self.claim {
            Claim::User => IdClaim::UserId,
            Claim::Admin => IdClaim::AdminId,
            Claim::Sub => IdClaim::Sub,
        };
        Person { claim, id: self.id.0.clone() }
    }

    fn flag(&self) -> &'static str {
        match self.claim {
            Claim::User => "--user",
            Claim::Admin => "--admin",
            Claim::Sub => "--sub",
        }
    }
}

impl Change {
    /// The command that does the same.
    pub(super) fn command(&self) -> String {
        let words: Vec<String> = match self {
            Self::Cancel { id } => vec!["cancel".into(), id.to_string()],
            Self::Retry { id, include_unresolved } => {
                let words = ["retry".into(), id.to_string()].into_iter();
                words.chain(include_unresolved.then(|| "--include-unresolved".into())).collect()
            }
            Self::Pause { church } => of_church(&["pause", "sending"], church.as_ref()),
            Self::Resume { church } => of_church(&["resume", "sending"], church.as_ref()),
            Self::Reprocess { which } => reprocess(which),
            Self::Replay { church, since, message, rate } => {
                let mut words = of_church(&["replay"], Some(church));
                words.extend(["--since".into(), since.written.clone(), "--rate".into(), rate.to_string()]);
                words.extend(message.iter().flat_map(|id| ["--message".into(), id.to_string()]));
                words
            }
            Self::Revoke { church, whose } => of_whom(&["revoke"], church, whose),
            Self::UndoRevocation { church, whose } => of_whom(&["revocations", "undo"], church, whose),
            Self::Repair => vec!["audit".into(), "--repair".into()],
        };
        command::ops(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn of_church(words: &[&str], church: Option<&ChurchId>) -> Vec<String> {
    let words = words.iter().map(ToString::to_string);
    words.chain(church.into_iter().flat_map(|church| ["--church".into(), church.to_string()])).collect()
}

fn of_whom(words: &[&str], church: &ChurchId, whose: &Whose) -> Vec<String> {
    let mut words = of_church(words, Some(church));
    if let Whose::Person(named) = whose {
        words.extend([named.flag().into(), named.id.0.clone()]);
    }
    words
}

fn reprocess(which: &Which) -> Vec<String> {
    let mut words = vec!["reprocess".to_owned()];
    match which {
        Which::Events(EventIds(ids)) => {
            words.extend(ids.iter().flat_map(|id| ["--event".into(), id.clone()]))
        }
        Which::Reason(Reason(reason)) => words.extend(["--reason".into(), reason.clone()]),
    }
    words.push("--yes".into());
    words
}

/// The command of one change of each kind. The test of the command line checks that `ops` takes them.
#[cfg(test)]
pub(crate) fn examples() -> Vec<String> {
    use serde_json::json;
    let id = "0192f7f0-0000-7000-8000-000000000000";
    let changes = json!([
        { "change": "cancel", "id": id },
        { "change": "retry", "id": id, "includeUnresolved": true },
        { "change": "retry", "id": id, "includeUnresolved": false },
        { "change": "pause", "church": null },
        { "change": "pause", "church": "grace" },
        { "change": "resume", "church": "grace" },
        { "change": "reprocess", "which": { "events": ["a b", id] } },
        { "change": "reprocess", "which": { "reason": "it's no report" } },
        { "change": "replay", "church": "grace", "since": "2h", "message": id, "rate": 100 },
        { "change": "replay", "church": "grace", "since": "2026-11-22T20:15:00Z", "rate": 1 },
        { "change": "revoke", "church": "grace", "whose": { "person": { "claim": "adminId", "id": "7" } } },
        { "change": "revoke", "church": "grace", "whose": "everybody" },
        { "change": "undoRevocation", "church": "grace", "whose": { "person": { "claim": "sub", "id": "seven of nine" } } },
        { "change": "repair" },
    ]);
    let changes: Vec<Change> = serde_json::from_value(changes).unwrap();
    changes.iter().map(Change::command).collect()
}
