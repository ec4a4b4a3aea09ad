//! Revoked tokens, as the stream tells. All revocations are read before the first client is let in.

use std::collections::{HashMap, HashSet};

use common::claims::{Claims, Person, TokenError, TokenVerifier};
use common::revocation::{Revocation, is_revoked};
use common::subject::{self, ChurchId, REVOKED_SUBJECTS, Topic};
use common::throttle::Throttle;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::stream::{ReadError, Reader, Stored};

/// What is revoked, by church: tokens issued until a Unix second.
pub(crate) struct Revocations {
    churches: watch::Sender<HashMap<ChurchId, OfChurch>>,
    throttle: Throttle,
}

/// What is revoked in one church.
#[derive(Default)]
struct OfChurch {
    everybody: Option<i64>,
    /// By [`Revocation::key`].
    people: HashMap<String, i64>,
}

impl OfChurch {
    fn issued_until(&self, person: &Person) -> Option<i64> {
        let of = |key: &str| self.people.get(key).copied();
        // Revocations of older versions name an id without its claim.
        self.everybody.max(of(&person.to_string())).max(of(&person.id))
    }

    /// Returns whether it changed anything.
    fn note(&mut self, revocation: &Revocation) -> bool {
        let (key, until) = (revocation.key(), revocation.issued_until);
        let before = if key.is_empty() { self.everybody } else { self.people.get(&key).copied() };
        let after = if revocation.undone { None } else { before.max(Some(until)) };
        match after {
            _ if key.is_empty() => self.everybody = after,
            Some(until) => drop(self.people.insert(key, until)),
            None => drop(self.people.remove(&key)),
        }
        before != after
    }
}

impl Revocations {
    /// Nothing is revoked yet.
    pub(crate) fn new() -> Self {
        Self { churches: watch::Sender::default(), throttle: Throttle::once_a_minute() }
    }

    /// The claims of a token that is good and not revoked.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn verify(&self, verifier: &TokenVerifier, token: &str) -> Result<Claims, TokenError> {
        let claims = verifier.verify(token)?;
        let is_revoked = self.covers(&claims.church_id, &claims.person(), claims.issued_at);
        if is_revoked { Err(TokenError::Revoked) } else { Ok(claims) }
    }

    /// Whether a person's token that was issued then is revoked.
    pub(crate) fn covers(&self, church: &ChurchId, person: &Person, issued_at: Option<i64>) -> bool {
        let churches = self.churches.borrow();
        is_revoked(issued_at, churches.get(church).and_then(|of| of.issued_until(person)))
    }

    /// Wakes a waiting task when something is revoked.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.churches.subscribe())
    }

    /// Applies a message of the stream, if it is a revocation.
    pub(crate) fn apply(&self, stored: &Stored) {
        self.apply_all(std::slice::from_ref(stored));
    }

    /// Applies the revocations among messages of the stream in their order, and wakes waiting tasks once. A revocation
    /// that a later message undoes never takes effect.
    pub(crate) fn apply_all(&self, messages: &[Stored]) {
        self.note(in_force(messages.iter().filter_map(|stored| self.read(stored)).collect()));
    }

    fn note(&self, revocations: Vec<Revocation>) {
        if revocations.is_empty() {
            return;
        }
        let mut news = Vec::new();
        self.churches.send_if_modified(|churches| {
            for revocation in revocations {
                if churches.entry(revocation.church_id.clone()).or_default().note(&revocation) {
                    news.push(revocation);
                }
            }
            !news.is_empty()
        });
        for Revocation { church_id, undone, .. } in news {
            info!(church.id = %church_id, undone, "revoked tokens changed");
        }
    }

    /// Reads all revocations that the stream keeps.
    ///
    /// # Errors
    /// The stream can't be read now, or the replica that answers has fewer than the leader.
    pub(crate) async fn read_back(&self, reader: &Reader) -> Result<(), ReadError> {
        let count = reader.count(REVOKED_SUBJECTS).await?;
        let (mut next, mut heard, mut revocations) = (1, 0, Vec::new());
        loop {
            let batch = reader.from(next, REVOKED_SUBJECTS).await?;
            revocations.extend(batch.messages.iter().filter_map(|stored| self.read(stored)));
            heard += batch.messages.len() as u64;
            match batch.messages.last() {
                Some(last) if !batch.complete => next = last.sequence + 1,
                _ if heard < count => return Err(ReadError::Lagging),
                _ => break,
            }
        }
        self.note(in_force(revocations));
        Ok(())
    }

    /// The revocation in a message of the stream, if it is one.
    fn read(&self, stored: &Stored) -> Option<Revocation> {
        let Some((church, Topic::Revoked)) = subject::parse(&stored.subject) else { return None };
        let read = serde_json::from_slice::<Revocation>(&stored.payload).ok();
        let read = read.filter(|revocation| revocation.church_id == church);
        if read.is_none()
            && let Some(held_back) = self.throttle.opens("unreadable")
        {
            let sequence = stored.sequence;
            warn!(
                sequence,
                held_back, "a revocation can't be read and has no effect; is this gateway too old?"
            );
        }
        read
    }
}

/// The revocations that remain in force: without those that a later one with the same key undoes.
fn in_force(mut revocations: Vec<Revocation>) -> Vec<Revocation> {
    let mut undone = HashSet::new();
    revocations.reverse();
    revocations.retain(|revocation| {
        let key = (revocation.church_id.clone(), revocation.key());
        if undone.contains(&key) {
            return false;
        }
        if revocation.undone {
            undone.insert(key);
        }
        true
    });
    revocations.reverse();
    revocations
}

/// Waits for revocations, without keeping them alive.
pub(crate) struct Changes(watch::Receiver<HashMap<ChurchId, OfChurch>>);

impl Changes {
    /// Returns after something was revoked. Once the gateway is gone it never returns.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use common::claims::IdClaim;
    use time::OffsetDateTime;

    use super::*;

    fn stored(subject: &str, revocation: &Revocation) -> Stored {
        let payload = serde_json::to_vec(revocation).unwrap().into();
        Stored { sequence: 1, subject: subject.into(), payload, after: None, trace: None }
    }

    fn ann() -> Person {
        Person { claim: IdClaim::UserId, id: "ann".into() }
    }

    fn covers_ann(revocations: &Revocations, issued_at: i64) -> bool {
        revocations.covers(&"grace".parse().unwrap(), &ann(), Some(issued_at))
    }

    #[test]
    fn a_revocation_takes_effect_at_once_and_an_earlier_one_does_not_weaken_it() {
        let revocations = Revocations::new();
        let until = |second| {
            let at = OffsetDateTime::from_unix_timestamp(second).unwrap();
            Revocation::new("grace".parse().unwrap(), Some(ann()), at).unwrap()
        };
        assert!(!covers_ann(&revocations, 100));
        revocations.apply(&stored("live.church.grace.revoked", &until(100)));
        revocations.apply(&stored("church.grace.revoked", &until(50)));
        assert!(covers_ann(&revocations, 100));
        assert!(!covers_ann(&revocations, 101));
    }

    #[test]
    fn an_undone_revocation_has_no_effect_and_one_of_everybody_stays() {
        let revocations = Revocations::new();
        let at = OffsetDateTime::from_unix_timestamp(100).unwrap();
        let (grace, subject) = ("grace".parse::<ChurchId>().unwrap(), "church.grace.revoked");
        let of_ann = Revocation::new(grace.clone(), Some(ann()), at).unwrap();
        revocations.apply(&stored(subject, &of_ann));
        revocations.apply(&stored(subject, &of_ann.undo()));
        assert!(!covers_ann(&revocations, 1));
        revocations.apply(&stored(subject, &Revocation::new(grace, None, at).unwrap()));
        revocations.apply(&stored(subject, &of_ann.undo()));
        assert!(covers_ann(&revocations, 1));
    }

    #[test]
    fn a_revocation_that_comes_with_its_undoing_or_a_second_time_wakes_nobody() {
        let revocations = Revocations::new();
        let at = |second| OffsetDateTime::from_unix_timestamp(second).unwrap();
        let of_ann = |second| Revocation::new("grace".parse().unwrap(), Some(ann()), at(second)).unwrap();
        let message = |revocation: &Revocation| stored("church.grace.revoked", revocation);
        let [revoked, undone] = [message(&of_ann(100)), message(&of_ann(100).undo())];
        let mut changes = revocations.changes().0;
        revocations.apply_all(&[revoked, undone]);
        assert!(!changes.has_changed().unwrap());
        revocations.apply_all(&[message(&of_ann(100)), message(&of_ann(100).undo()), message(&of_ann(50))]);
        assert!(changes.has_changed().unwrap());
        assert!(covers_ann(&revocations, 50) && !covers_ann(&revocations, 51));
        changes.mark_unchanged();
        revocations.apply(&message(&of_ann(50)));
        assert!(!changes.has_changed().unwrap());
    }

    #[test]
    fn a_revocation_of_a_user_does_not_cover_an_admin_with_the_same_id() {
        let revocations = Revocations::new();
        let at = OffsetDateTime::from_unix_timestamp(100).unwrap();
        let grace = "grace".parse::<ChurchId>().unwrap();
        let seven = |claim| Person { claim, id: "7".into() };
        let user = Revocation::new(grace.clone(), Some(seven(IdClaim::UserId)), at).unwrap();
        revocations.apply(&stored("church.grace.revoked", &user));
        assert!(revocations.covers(&grace, &seven(IdClaim::UserId), Some(1)));
        assert!(!revocations.covers(&grace, &seven(IdClaim::AdminId), Some(1)));
        let without_claim = Revocation { claim: None, ..user };
        revocations.apply(&stored("church.grace.revoked", &without_claim));
        assert!(revocations.covers(&grace, &seven(IdClaim::AdminId), Some(1)));
    }

    #[test]
    fn a_revocation_of_another_church_than_its_subjects_has_no_effect() {
        let revocations = Revocations::new();
        let at = OffsetDateTime::from_unix_timestamp(100).unwrap();
        let grace = Revocation::new("grace".parse().unwrap(), None, at).unwrap();
        revocations.apply(&stored("church.hope.revoked", &grace));
        assert!(!covers_ann(&revocations, 1));
    }
}
