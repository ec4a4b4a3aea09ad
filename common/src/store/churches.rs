//! The churches of an installation, for operators. There is no table of them: a church is known by its messages.

use super::columns::{Columns, Read};
use super::database::Database as _;
use super::failures::StoreError;
use super::handle::{Store, dispatch};
use super::records::KnownChurch;
use super::sql::{Sql, sql};
use crate::subject::ChurchId;

impl Store {
    /// Lists the churches that have messages, in the order of their ids, after an id. Jumps through the index.
    ///
    /// # Errors
    /// The database is away.
    pub async fn churches(&self, after: &str, limit: u32) -> Result<Vec<KnownChurch>, StoreError> {
        dispatch!(self, db => db.fetch(CHURCHES.bind(after).bind(limit)).await)
    }

    /// Whether a church has a message, a text that came in, or a sender of its own.
    ///
    /// # Errors
    /// The database is away.
    pub async fn knows_church(&self, church: &ChurchId) -> Result<bool, StoreError> {
        let found: Vec<String> = dispatch!(self, db => db.fetch(KNOWN.bind(church.as_str())).await)?;
        Ok(!found.is_empty())
    }
}

pub(super) const CHURCHES: Sql = sql!(
    "with recursive churches as (
         select (select min(church_id) from messages where church_id > $1) as church_id
         union all
         select (select min(church_id) from messages where church_id > c.church_id)
         from churches c where c.church_id is not null
     )
     select church_id, (select max(created_at) from messages m where m.church_id = churches.church_id) as last
     from churches where church_id is not null limit $2"
);

/// Without an order PostgreSQL may read the tables as they are, up to the first row of the church.
const KNOWN: Sql = sql!(
    "select church_id as value from senders where church_id = $1
     union all select value from (select church_id as value from messages where church_id = $1
                                         order by created_at desc limit 1) m
     union all select value from (select church_id as value from inbound where church_id = $1
                                         order by recorded_at desc limit 1) i"
);

impl Read for KnownChurch {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self { church_id: row.church()?, last_message_at: row.opt_time("last")? })
    }
}
