//! The person and the church that a token names.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::subject::ChurchId;

/// How long after its `exp` a token is still accepted. A socket is closed after the same time.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// The claim of a token that names its person. Sign-in numbers users and admins separately: user 7 and admin 7 are two
/// people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IdClaim {
    /// `userId`.
    UserId,
    /// `adminId`.
    AdminId,
    /// `sub`.
    Sub,
}

impl IdClaim {
    /// The claim's name in a token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserId => "userId",
            Self::AdminId => "adminId",
            Self::Sub => "sub",
        }
    }
}

/// One person of a church: an id, and the claim that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Person {
    /// The claim that names the person.
    pub claim: IdClaim,
    /// The id in that claim.
    pub id: String,
}

impl std::fmt::Display for Person {
    /// `userId:7`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.claim.as_str(), self.id)
    }
}

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Unique inside its church only.
    pub user_id: String,
    /// Which claim the user id comes from.
    pub claim: IdClaim,
    /// The church whose data the caller may see.
    pub church_id: ChurchId,
    /// The caller's role, in the product's own words, if the token says it.
    pub role: Option<String>,
    /// When the token expires, in Unix seconds, without the leeway.
    pub expires_at: i64,
    /// When the token was issued, in Unix seconds, if the token says so.
    pub issued_at: Option<i64>,
}

impl Claims {
    /// The person: the id together with its claim.
    pub fn person(&self) -> Person {
        Person { claim: self.claim, id: self.user_id.clone() }
    }

    /// How long the token is still accepted, with the leeway. Zero once it has expired.
    pub fn remaining(&self, now: OffsetDateTime) -> Duration {
        let end = self.expires_at.saturating_add(LEEWAY.as_secs() as i64);
        Duration::from_secs(end.saturating_sub(now.unix_timestamp()).max(0) as u64)
    }
}
