//! Tokens that were taken back, as the stream tells. Everything is read back at the start, before anybody is let in.

use std::collections::HashMap;

use common::claims::{Claims, TokenError, TokenVerifier};
use common::revocation::{Revocation, is_revoked};
use common::subject::{self, ChurchId, REVOKED_SUBJECTS, Topic};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::stream::{ReadError, Reader, Stored};

/// What is revoked: tokens issued until a Unix second.
pub(crate) struct Revocations {
    churches: watch::Sender<HashMap<ChurchId, OfChurch>>,
}

/// What is revoked in one church.
#[derive(Default)]
struct OfChurch {
    everybody: Option<i64>,
    users: HashMap<String, i64>,
}

impl Revocations {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { churches: watch::Sender::default() }
    }

    /// The claims of a token that holds and was not taken back.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn verify(&self, verifier: &TokenVerifier, token: &str) -> Result<Claims, TokenError> {
        let claims = verifier.verify(token)?;
        let is_revoked = self.cover(&claims.church_id, &claims.user_id, claims.issued_at);
        if is_revoked { Err(TokenError::Revoked) } else { Ok(claims) }
    }

    /// Whether a user's token that was issued then was taken back.
    pub(crate) fn cover(&self, church: &ChurchId, user: &str, issued_at: Option<i64>) -> bool {
        let churches = self.churches.borrow();
        let issued_until = |of: &OfChurch| of.everybody.max(of.users.get(user).copied());
        is_revoked(issued_at, churches.get(church).and_then(issued_until))
    }

    /// Wakes whoever waits on it when something is revoked.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.churches.subscribe())
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
        let church = revocation.church_id.clone();
        let is_news = self.churches.send_if_modified(|churches| {
            let of_church = churches.entry(revocation.church_id).or_default();
            let until = match revocation.user_id {
                Some(user) => of_church.users.entry(user).or_insert(i64::MIN),
                None => of_church.everybody.get_or_insert(i64::MIN),
            };
            let is_news = revocation.issued_until > *until;
            *until = revocation.issued_until.max(*until);
            is_news
        });
        if is_news {
            info!(%church, "tokens are revoked");
        }
    }

    /// Reads back all that the stream keeps.
    ///
    /// # Errors
    /// The stream can't be read now, or whoever answers has less than the leader: any replica may.
    pub(crate) async fn read_back(&self, reader: &Reader) -> Result<(), ReadError> {
        let count = reader.count(REVOKED_SUBJECTS).await?;
        let (mut next, mut heard) = (1, 0);
        loop {
            let batch = reader.from(next, REVOKED_SUBJECTS).await?;
            batch.messages.iter().for_each(|stored| self.hear(stored));
            heard += batch.messages.len() as u64;
            match batch.messages.last() {
                Some(last) if !batch.complete => next = last.sequence + 1,
                _ if heard < count => return Err(ReadError::Lagging),
                _ => return Ok(()),
            }
        }
    }
}

/// Waits for revocations, without holding on to them.
pub(crate) struct Changes(watch::Receiver<HashMap<ChurchId, OfChurch>>);

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
        Stored { sequence: 1, subject: subject.into(), payload, after: None }
    }

    fn covers_ann(revocations: &Revocations, issued_at: i64) -> bool {
        revocations.cover(&"grace".parse().unwrap(), "ann", Some(issued_at))
    }

    #[test]
    fn a_revocation_counts_from_when_it_is_heard_and_an_earlier_one_takes_nothing_back() {
        let revocations = Revocations::new();
        let until = |second| {
            let at = OffsetDateTime::from_unix_timestamp(second).unwrap();
            Revocation::new("grace".parse().unwrap(), Some("ann".into()), at)
        };
        assert!(!covers_ann(&revocations, 100));
        revocations.hear(&stored("live.church.grace.revoked", &until(100)));
        revocations.hear(&stored("church.grace.revoked", &until(50)));
        assert!(covers_ann(&revocations, 100));
        assert!(!covers_ann(&revocations, 101));
    }

    #[test]
    fn a_revocation_of_another_church_than_its_subjects_is_not_believed() {
        let revocations = Revocations::new();
        let at = OffsetDateTime::from_unix_timestamp(100).unwrap();
        let grace = Revocation::new("grace".parse().unwrap(), None, at);
        revocations.hear(&stored("church.hope.revoked", &grace));
        assert!(!covers_ann(&revocations, 1));
    }
}
