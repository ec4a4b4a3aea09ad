//! How long a socket may stay: until its token expires, or the newer one that replaced it.

use common::claims::{Claims, IdClaim, LEEWAY};

use crate::tokens::errors::RefreshError;

/// Seconds before the expiry in which the client is told.
const NOTICE: i64 = 60;

/// How long a socket may stay.
pub(crate) struct Term {
    /// When its token was issued, in Unix seconds.
    pub(crate) issued_at: Option<i64>,
    /// The claim that names its user.
    pub(crate) claim: IdClaim,
    expires_at: i64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Noticed,
    Over,
}

/// What a socket's time requires.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// To tell the client that its token expires at this Unix second.
    Notice(i64),
    /// To close the socket.
    End,
}

impl Term {
    /// Until the expiry of these claims.
    pub(crate) fn of(claims: &Claims) -> Self {
        let (issued_at, claim, expires_at) = (claims.issued_at, claims.claim, claims.expires_at);
        Self { issued_at, claim, expires_at, stage: Stage::Open }
    }

    /// Extends the stay to the expiry of a newer token. Returns that expiry in Unix seconds. A token with the same
    /// expiry is newer if it was issued later: a revocation of the earlier one does not cover it.
    ///
    /// # Errors
    /// The stay is over, or the token is not newer.
    pub(crate) fn extend(&mut self, fresh: &Claims) -> Result<i64, RefreshError> {
        if self.stage == Stage::Over {
            return Err(RefreshError::TooLate);
        }
        if (fresh.expires_at, fresh.issued_at) <= (self.expires_at, self.issued_at) {
            return Err(RefreshError::NotNewer);
        }
        *self = Self::of(fresh);
        Ok(self.expires_at)
    }

    /// What is due at a Unix second.
    pub(crate) fn due(&self, now: i64) -> Due {
        let end = self.expires_at.saturating_add(LEEWAY.as_secs() as i64);
        match self.stage {
            Stage::Open | Stage::Noticed if now >= end => Due::End,
            Stage::Open if now >= self.expires_at.saturating_sub(NOTICE) => Due::Notice(self.expires_at),
            _ => Due::Nothing,
        }
    }

    /// Notes that the client was told.
    pub(crate) fn noticed(&mut self) {
        self.stage = Stage::Noticed;
    }

    /// Ends it. Returns false if it was over already.
    pub(crate) fn end(&mut self) -> bool {
        std::mem::replace(&mut self.stage, Stage::Over) != Stage::Over
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(expires_at: i64) -> Claims {
        let church_id = "grace".parse().unwrap();
        Claims {
            user_id: "ann".into(),
            claim: IdClaim::UserId,
            church_id,
            role: None,
            expires_at,
            issued_at: None,
        }
    }

    #[test]
    fn a_client_is_told_before_its_token_expires_and_closed_once_after() {
        let mut term = Term::of(&claims(1_000));
        assert_eq!(term.due(939), Due::Nothing);
        assert_eq!((term.due(940), term.due(941)), (Due::Notice(1_000), Due::Notice(1_000)));
        term.noticed();
        assert_eq!((term.due(942), term.due(1_029), term.due(1_030)), (Due::Nothing, Due::Nothing, Due::End));
        assert!(term.end());
        assert_eq!((term.due(1_031), term.end()), (Due::Nothing, false));
        assert!(matches!(term.extend(&claims(2_000)), Err(RefreshError::TooLate)));
    }

    #[test]
    fn only_a_newer_token_extends_and_a_refused_one_changes_nothing() {
        let mut term = Term::of(&claims(1_000));
        term.noticed();
        let issued = |second| Claims { issued_at: Some(second), ..claims(2_000) };
        for newer in [claims(2_000), issued(100), issued(101)] {
            assert_eq!(term.extend(&newer).unwrap(), 2_000);
            for old in [claims(1_500), claims(2_000), newer] {
                assert!(matches!(term.extend(&old), Err(RefreshError::NotNewer)));
            }
        }
        assert_eq!((term.due(1_030), term.due(1_940)), (Due::Nothing, Due::Notice(2_000)));
        assert_eq!(Term::of(&claims(i64::MAX)).due(i64::MAX - 61), Due::Nothing);
    }

    #[test]
    fn a_token_that_expires_within_a_minute_is_announced_at_once() {
        assert_eq!(Term::of(&claims(1_000)).due(1_010), Due::Notice(1_000));
    }
}
