//! Erases one person: the number, the names, and the bodies that Telnyx sent about it.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::ledger::Locking;
use super::sending::answers;
use super::{Backend, Failure, Store, StoreError};

/// What stands in the place of an erased number.
pub(super) const ERASED: &str = "erased";
/// Rows looked at or changed at once, so that nobody waits long for them.
const PORTION: usize = 500;

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    /// Recipients that have no number and no names any more.
    pub recipients: u64,
    /// Of these, those that were still to be sent a text: they failed instead.
    pub unsent: u64,
    /// Webhooks whose body and report are gone.
    pub webhooks: u64,
    /// Events in the outbox whose reason named the number.
    pub events: u64,
}

/// A recipient with the number that is to be erased.
pub(super) struct Known {
    pub(super) id: Uuid,
    pub(super) unsent: bool,
}

impl Store {
    /// Erases a number everywhere; with `dry` only counts. It works in portions and can be repeated. A text on its way
    /// to the number ends without a receipt, for which Telnyx is not asked; one that waits to be sent fails.
    ///
    /// # Errors
    /// The database is away; what was done until then stays done.
    pub async fn erase_phone(&self, phone: &str, dry: bool) -> Result<Erased, StoreError> {
        let known = match &self.backend {
            Backend::Postgres(db) => db.recipients_of(phone).await,
            Backend::Sqlite(db) => db.recipients_of(phone).await,
        }?;
        let mut erased = Erased { recipients: known.len() as u64, ..Erased::default() };
        erased.unsent = self.fail_erased(&known, dry).await?;
        let ids: Vec<Uuid> = known.iter().map(|recipient| recipient.id).collect();
        erased.webhooks = self.erase_webhooks(&Traces { ids: &ids, phone }, dry).await?;
        erased.events = dispatch!(self, db => db.erase_events(phone, dry).await)?;
        if !dry {
            for portion in ids.chunks(PORTION) {
                dispatch!(self, db => db.erase_recipients(portion, phone).await)?;
            }
        }
        Ok(erased)
    }

    async fn fail_erased(&self, known: &[Known], dry: bool) -> Result<u64, StoreError> {
        let failure = Failure {
            code: ERASED.into(),
            reason: "The recipient's number was erased before it was sent.".into(),
        };
        let unsent: Vec<Uuid> =
            known.iter().filter(|recipient| recipient.unsent).map(|recipient| recipient.id).collect();
        if !dry {
            for portion in unsent.chunks(PORTION) {
                let now = OffsetDateTime::now_utc();
                let (_, news) = dispatch!(self, db => {
                    answers::fail_waiting(db, portion, &failure, now, Locking::Wait).await
                })?;
                self.announce(&news);
            }
        }
        Ok(unsent.len() as u64)
    }

    /// Goes through all webhooks, page after page: those of the recipients, and those that name the number.
    async fn erase_webhooks(&self, traces: &Traces<'_>, dry: bool) -> Result<u64, StoreError> {
        let (mut all, mut after) = (0, String::new());
        loop {
            let page = dispatch!(self, db => db.erase_webhooks(traces, &after, PORTION as u32, dry).await)?;
            all += page.erased;
            match page.last {
                Some(last) => after = last,
                None => return Ok(all),
            }
        }
    }
}

/// By what a person's webhooks are found.
pub(super) struct Traces<'a> {
    /// The recipients that had the number.
    pub(super) ids: &'a [Uuid],
    /// The number.
    pub(super) phone: &'a str,
}

/// One page of webhooks.
pub(super) struct Page {
    pub(super) erased: u64,
    /// Where the next page begins.
    pub(super) last: Option<String>,
}

/// The number as it stands in JSON.
pub(super) fn quoted(phone: &str) -> String {
    format!("\"{phone}\"")
}
