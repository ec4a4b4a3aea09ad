//! What a process remembers between two claims.

use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::store::records::Attempt;
use crate::store::rows::OpenClaim;

/// The turn of the churches, and the claims of which it is unknown whether they were committed.
#[derive(Default)]
pub(in crate::store) struct ClaimMemory {
    /// The church whose recipient was claimed last: the next turn begins after it.
    served: Mutex<String>,
    /// Claims that may have been committed. They are read back before anything else is claimed.
    open: Mutex<Vec<OpenClaim>>,
}

impl ClaimMemory {
    pub(in crate::store) fn served(&self) -> String {
        lock(&self.served).clone()
    }

    /// The next turn begins after the church of the last attempt.
    pub(in crate::store) fn note_served(&self, attempts: &[Attempt]) {
        if let Some(last) = attempts.last() {
            *lock(&self.served) = last.church_id.as_str().to_owned();
        }
    }

    /// Takes a claim that has to be read back.
    pub(in crate::store) fn next_open(&self) -> Option<OpenClaim> {
        lock(&self.open).pop()
    }

    /// Keeps a claim to be read back, if it took any recipient.
    pub(in crate::store) fn reopen(&self, id: Uuid, recipients: Vec<Uuid>) {
        if !recipients.is_empty() {
            lock(&self.open).push(OpenClaim { id, recipients });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
