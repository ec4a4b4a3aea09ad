//! The senders of churches.

use super::columns::{Columns, Read};
use super::database::Database;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::records::{Sender, SenderState};
use super::session::{Session as _, end};
use super::sql::{Sql, Statement, sql};
use crate::subject::ChurchId;

impl Store {
    /// Returns the church's own sender, if it has one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sender(&self, church: &ChurchId) -> Result<Option<Sender>, StoreError> {
        const FIND: Sql =
            sql!("select church_id, number, messaging_profile_id, rate from senders where church_id = $1");
        Ok(dispatch!(self, db => db.fetch(FIND.bind(church.as_str())).await)?.pop())
    }

    /// Lists the churches that have a sender of their own, and how each sender stands with Telnyx.
    ///
    /// # Errors
    /// The database is away.
    pub async fn senders(&self) -> Result<Vec<SenderState>, StoreError> {
        const LIST: Sql = sql!(
            "select s.church_id, s.number, s.messaging_profile_id, s.rate, p.held_until, p.reason, p.served_at
             from senders s left join paces p on p.sender = s.number order by s.church_id"
        );
        dispatch!(self, db => db.fetch(LIST.into()).await)
    }

    /// Removes the sender of a church. Its messages that wait keep their number. Returns whether it had one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn remove_sender(&self, church: &ChurchId) -> Result<bool, StoreError> {
        dispatch!(self, db => remove(db, church).await)
    }

    /// Sets the sender of a church. If the number belongs to another church, changes nothing and returns that church.
    ///
    /// # Errors
    /// The database is away.
    pub async fn set_sender(&self, sender: &Sender) -> Result<Option<ChurchId>, StoreError> {
        match dispatch!(self, db => set(db, sender).await) {
            // The constraint decides, because another process may have set the number meanwhile.
            Err(StoreError::Refused(error)) => {
                let owner = dispatch!(self, db => db.fetch(owner_of(sender)).await)?.pop();
                owner.map(Some).ok_or(StoreError::Refused(error))
            }
            set => set.map(|()| None),
        }
    }
}

/// The other church that has the number of a sender.
fn owner_of(sender: &Sender) -> Statement<'_> {
    const FIND: Sql = sql!("select church_id as value from senders where number = $1 and church_id <> $2");
    FIND.bind(&sender.number).bind(sender.church_id.as_str())
}

async fn set<D: Database>(db: &D, sender: &Sender) -> Result<(), StoreError> {
    const SET: Sql = sql!(
        "insert into senders (church_id, number, messaging_profile_id, rate) values ($1, $2, $3, $4)
         on conflict (church_id) do update
         set number = excluded.number, messaging_profile_id = excluded.messaging_profile_id, rate = excluded.rate"
    );
    let set = SET
        .bind(sender.church_id.as_str())
        .bind(&sender.number)
        .bind(&sender.messaging_profile_id)
        .bind(sender.rate.map(i64::from));
    let mut tx = db.begin().await?;
    let done = tx.execute(set).await.map(drop);
    end(tx, done).await
}

async fn remove<D: Database>(db: &D, church: &ChurchId) -> Result<bool, StoreError> {
    const REMOVE: Sql = sql!("delete from senders where church_id = $1");
    let mut tx = db.begin().await?;
    let removed = tx.execute(REMOVE.bind(church.as_str())).await.map(|rows| rows > 0);
    end(tx, removed).await
}

impl Read for SenderState {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            sender: Sender::read(row)?,
            held_until: row.opt_time("held_until")?,
            reason: row.opt_text("reason")?,
            served_at: row.opt_time("served_at")?,
        })
    }
}

impl Read for Sender {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            church_id: row.church()?,
            number: row.text("number")?,
            messaging_profile_id: row.opt_text("messaging_profile_id")?,
            rate: row.opt_number("rate")?.and_then(|rate| u32::try_from(rate).ok()),
        })
    }
}
