//! Reads rows of both databases, whatever types their columns have.

use time::OffsetDateTime;
use uuid::Uuid;

use super::failures::StoreError;
use super::records::Failure;
use crate::status::{MessageStatus, Rank, RecipientState, Tally};
use crate::subject::ChurchId;

/// The columns of one row by name.
pub(super) trait Columns {
    fn opt_id(&self, name: &str) -> Result<Option<Uuid>, StoreError>;
    fn opt_time(&self, name: &str) -> Result<Option<OffsetDateTime>, StoreError>;
    fn opt_text(&self, name: &str) -> Result<Option<String>, StoreError>;
    fn opt_number(&self, name: &str) -> Result<Option<i64>, StoreError>;
    fn bytes(&self, name: &str) -> Result<Vec<u8>, StoreError>;
    fn fraction(&self, name: &str) -> Result<f64, StoreError>;
    fn flag(&self, name: &str) -> Result<bool, StoreError>;

    fn id(&self, name: &str) -> Result<Uuid, StoreError> {
        self.opt_id(name)?.ok_or_else(|| missing(name))
    }

    fn number(&self, name: &str) -> Result<i64, StoreError> {
        self.opt_number(name)?.ok_or_else(|| missing(name))
    }

    fn time(&self, name: &str) -> Result<OffsetDateTime, StoreError> {
        self.opt_time(name)?.ok_or_else(|| missing(name))
    }

    fn text(&self, name: &str) -> Result<String, StoreError> {
        self.opt_text(name)?.ok_or_else(|| missing(name))
    }

    fn count(&self, name: &str) -> Result<i32, StoreError> {
        i32::try_from(self.number(name)?).map_err(|_| unreadable(name))
    }

    fn church(&self) -> Result<ChurchId, StoreError> {
        self.text("church_id")?.parse().map_err(|_| unreadable("church_id"))
    }

    fn status(&self) -> Result<MessageStatus, StoreError> {
        MessageStatus::parse(&self.text("status")?).ok_or_else(|| unreadable("status"))
    }

    fn tally(&self) -> Result<Tally, StoreError> {
        Ok(Tally {
            recipients: self.count("recipient_count")?,
            delivered: self.count("delivered_count")?,
            failed: self.count("failed_count")?,
            unconfirmed: self.count("unconfirmed_count")?,
            read: self.count("read_count")?,
            cancelled: self.count("cancelled_count")?,
        })
    }

    fn state(&self) -> Result<RecipientState, StoreError> {
        let rank = i16::try_from(self.number("rank")?).ok().and_then(Rank::from_i16);
        Ok(RecipientState { rank: rank.ok_or_else(|| unreadable("rank"))?, closed: self.flag("closed")? })
    }

    fn failure(&self) -> Result<Option<Failure>, StoreError> {
        let (code, reason) = (self.opt_text("failure_code")?, self.opt_text("failure_reason")?);
        Ok(code.zip(reason).map(|(code, reason)| Failure { code, reason }))
    }
}

/// Columns that the driver reads as they are.
macro_rules! plain_columns {
    ($($read:ident: $value:ty;)+) => {
        $(fn $read(&self, name: &str) -> Result<$value, StoreError> {
            Ok(self.try_get(name)?)
        })+
    };
}
pub(super) use plain_columns;

fn missing(name: &str) -> StoreError {
    StoreError::Unreadable(format!("{name} is missing"))
}

/// The error for a value that this version can't read.
pub(super) fn unreadable(name: &str) -> StoreError {
    StoreError::Unreadable(format!("{name} has no known value"))
}

/// A row that can be read from columns.
pub(super) trait Read: Sized + Send {
    fn read(row: &impl Columns) -> Result<Self, StoreError>;
}

/// Reads all rows.
pub(super) fn read_all<T: Read, C: Columns>(rows: &[C]) -> Result<Vec<T>, StoreError> {
    rows.iter().map(T::read).collect()
}

/// Statements with one column call it `value`.
macro_rules! read_value {
    ($($value:ty: $read:ident;)+) => {
        $(impl Read for $value {
            fn read(row: &impl Columns) -> Result<Self, StoreError> {
                row.$read("value")
            }
        })+
    };
}

impl Read for ChurchId {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        row.text("value")?.parse().map_err(|_| unreadable("church_id"))
    }
}

read_value! {
    Uuid: id;
    String: text;
    i64: number;
    Option<i64>: opt_number;
    Option<OffsetDateTime>: opt_time;
}
