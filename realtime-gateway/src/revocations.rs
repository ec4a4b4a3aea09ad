//! Tokens that were taken back, as the stream tells. Everything is read back at the start, before anybody is let in.

use std::collections::HashMap;

use common::claims::{Claims, TokenError, TokenVerifier};
use common::revocation::{Revocation, is_revoked};
use common::subject::{self, ChurchId, REVOKED_SUBJECTS, Topic};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::stream::{ReadError, Reader, Stored};

/// A church, and one user of it or everybody.
type Whose = (ChurchId, Option<String>);

/// What is revoked: tokens issued until a Unix second.
pub(crate) struct Revocations {
    issued_until: watch::Sender<HashMap<Whose, i64>>,
}

impl Revocations {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { issued_until: watch::Sender::default() }
    }

    /// The claims of a token that holds and was not taken back.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn verify(&self, verifier: &TokenVerifier, token: &str) -> Result<Claims, TokenError> {
        let claims = verifier.verify(token)?;
        if self.cover(&claims) { Err(TokenError::Revoked) } else { Ok(claims) }
    }

    /// Whether the token of these claims was taken back.
    pub(crate) fn cover(&self, claims: &Claims) -> bool {
        let issued_until = self.issued_until.borrow();
        let of = |user| issued_until.get(&(claims.church_id.clone(), user)).copied();
        is_revoked(claims, of(None).max(of(Some(claims.user_id.clone()))))
    }

    /// Wakes whoever waits on the receiver when something is revoked.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.issued_until.subscribe())
    }

    /// Takes a message of the stream in, if it is a revocation.
    pub(crate) fn hear(&self, stored: &Stored) {
        let Some((church, Topic::Revoked)) = subject::parse(&stored.subject) else { return };
        match serde_json::from_slice::<Revocation>(&stored.payload) {
            Ok(revocation) if revocation.church_id == church => self.note(revocation),
            _ => warn!(sequence = stored.sequence, "a revocation can't be read; it is not in force here"),
        }
    }

    fn note(&self, revocation: Revocation) {
        info!(church = %revocation.church_id, "tokens are revoked");
        self.issued_until.send_modify(|issued_until| {
            let until = issued_until.entry((revocation.church_id, revocation.user_id)).or_insert(i64::MIN);
            *until = revocation.issued_until.max(*until);
        });
    }

    /// Reads back all that the stream keeps, at least up to a sequence.
    ///
    /// # Errors
    /// The stream can't be read now.
    pub(crate) async fn read_back(&self, reader: &Reader, until: u64) -> Result<(), ReadError> {
        let mut next = 1;
        loop {
            let batch = reader.from(next, REVOKED_SUBJECTS).await?;
            batch.messages.iter().for_each(|stored| self.hear(stored));
            match batch.messages.last() {
                Some(last) if !batch.complete => next = last.sequence + 1,
                _ => return reader.surely_has(until).await,
            }
        }
    }
}

/// Waits for revocations, without holding on to them.
pub(crate) struct Changes(watch::Receiver<HashMap<Whose, i64>>);

impl Changes {
    /// Returns after something was revoked; never, once the gateway is gone.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn stored(subject: &str, revocation: &Revocation) -> Stored {
        let payload = serde_json::to_vec(revocation).unwrap().into();
        Stored { sequence: 1, subject: subject.into(), payload }
    }

    fn claims(issued_at: i64) -> Claims {
        let church_id = "grace".parse().unwrap();
        Claims { user_id: "ann".into(), church_id, expires_at: i64::MAX, issued_at: Some(issued_at) }
    }

    #[test]
    fn a_revocation_counts_from_when_it_is_heard_and_an_earlier_one_takes_nothing_back() {
        let revocations = Revocations::new();
        let until = |second| {
            let at = OffsetDateTime::from_unix_timestamp(second).unwrap();
            Revocation::new("grace".parse().unwrap(), Some("ann".into()), at)
        };
        assert!(!revocations.cover(&claims(100)));
        revocations.hear(&stored("live.church.grace.revoked", &until(100)));
        revocations.hear(&stored("church.grace.revoked", &until(50)));
        assert!(revocations.cover(&claims(100)));
        assert!(!revocations.cover(&claims(101)));
    }

    #[test]
    fn a_revocation_of_another_church_than_its_subjects_is_not_believed() {
        let revocations = Revocations::new();
        let at = OffsetDateTime::from_unix_timestamp(100).unwrap();
        let grace = Revocation::new("grace".parse().unwrap(), None, at);
        revocations.hear(&stored("church.hope.revoked", &grace));
        assert!(!revocations.cover(&claims(1)));
    }
}
