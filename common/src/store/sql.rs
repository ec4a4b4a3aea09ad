//! Statements for both databases.
//!
//! [`sql!`] writes a statement once; pieces in brackets differ between the dialects. Where each database has its own
//! best statement, a [`Sql`] holds both texts. Values are bound as [`Param`]s, which each database turns into the types
//! of its columns.

use std::borrow::Cow;

use sqlx::query::Query;
use sqlx::{AssertSqlSafe, IntoArguments, SqlSafeStr as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::bulk::{Bulk, Column};
use super::columns::Columns;

/// One statement in both dialects.
///
/// Statements always name their columns: a column that is added while this version runs must not change them.
macro_rules! sql {
    ($($piece:tt)+) => {
        $crate::store::sql::Sql {
            postgres: concat!($($crate::store::sql::piece!(postgres $piece)),+),
            sqlite: concat!($($crate::store::sql::piece!(sqlite $piece)),+),
        }
    };
}
pub(super) use sql;

/// A piece of a statement in one dialect.
macro_rules! piece {
    ($db:ident $text:literal) => { $text };
    // Compares a column with the list bound as this parameter.
    (postgres [in $number:literal]) => { concat!("= any($", $number, ")") };
    (sqlite [in $number:literal]) => { concat!("in (select value from json_each($", $number, "))") };
    // The recipient has no final status. Both databases match their partial indexes with exactly these terms.
    (postgres [open]) => { "not finished" };
    (sqlite [open]) => { "rank < 4 and closed = 0" };
    // The recipient waits to be sent. Without `likely` SQLite takes the unique index of provider ids and reads all
    // recipients that have none.
    (postgres [unsent]) => { "attempted_at is null and provider_id is null and not finished" };
    (sqlite [unsent]) => { "attempted_at is null and likely(provider_id is null) and rank < 4 and closed = 0" };
    // The same, for the index of turns and no other. While PostgreSQL's statistics know of few waiting recipients, it takes
    // any index whose condition fits, and reads all of them.
    (postgres [in turn]) => { "attempted_at is null and not finished" };
    (sqlite [in turn]) => { $crate::store::sql::piece!(sqlite [unsent]) };
    // The same of a recipient that is found by its id, for no index of those that wait.
    (postgres [still unsent]) => { "num_nonnulls(attempted_at, provider_id) = 0 and not finished" };
    (sqlite [still unsent]) => { $crate::store::sql::piece!(sqlite [unsent]) };
    // The rows of a table with a limit, by where they are. For a limit that it does not know, PostgreSQL may read the whole
    // table to join them.
    (postgres [row]) => { "ctid" };
    (sqlite [row]) => { "rowid" };
    (postgres [row in]) => { "ctid = any(array(" };
    (sqlite [row in]) => { "rowid in (" };
    (postgres [end in]) => { "))" };
    (sqlite [end in]) => { ")" };
    // SQLite has one writer and no row locks.
    (postgres [lock]) => { " for update" };
    (postgres [lock $alias:ident]) => { concat!(" for update of ", stringify!($alias)) };
    (postgres [skip locked]) => { " for update skip locked" };
    (postgres [share]) => { " for share" };
    (sqlite [lock]) => { "" };
    (sqlite [lock $alias:ident]) => { "" };
    (sqlite [skip locked]) => { "" };
    (sqlite [share]) => { "" };
    (postgres [greatest]) => { "greatest" };
    (sqlite [greatest]) => { "max" };
    (postgres [no bytes]) => { "''" };
    (sqlite [no bytes]) => { "x''" };
    // Whether a column of bytes contains a text.
    (postgres [bytes of $number:literal in $column:ident]) => {
        concat!("position(convert_to($", $number, ", 'UTF8') in ", stringify!($column), ") > 0")
    };
    (sqlite [bytes of $number:literal in $column:ident]) => {
        concat!("instr(", stringify!($column), ", cast($", $number, " as blob)) > 0")
    };
    ($db:ident [message]) => {
        "id, church_id, author_id, conversation_id, content, target_type, status, version, recipient_count, \
         delivered_count, failed_count, unconfirmed_count, read_count, cancelled_count, cancelled_by, failure_reason, sent_at, \
         created_at, updated_at, estimated_seconds, retry_of"
    };
    ($db:ident [select inbound]) => {
        "select id, church_id, from_number, content, media_count, opt_out, received_at, recorded_at from inbound "
    };
    ($db:ident [kept webhook]) => {
        "event_id, event_type, outcome, reason, recipient_id, provider_id, deliveries, occurred_at, received_at"
    };
    ($db:ident [select recipients]) => {
        "select id, message_id, ordinal, phone, member_id, first_name, last_name, rank, closed, provider_id, due_at, \
         attempted_at, claim_id, sender, ask_at, tried, failure_code, failure_reason, delivered_at, failed_at \
         from recipients "
    };
}
pub(super) use piece;

/// A statement, or a part of one, in both dialects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sql {
    pub(super) postgres: &'static str,
    pub(super) sqlite: &'static str,
}

impl Sql {
    /// The statement with its first value.
    pub(super) fn bind<'a>(self, value: impl Into<Param<'a>>) -> Statement<'a> {
        Statement::from(self).bind(value)
    }
}

/// A value of a statement.
#[derive(Debug, Clone)]
pub(super) enum Param<'a> {
    Id(Option<Uuid>),
    Text(Option<Cow<'a, str>>),
    Bytes(&'a [u8]),
    Number(Option<i64>),
    Time(Option<OffsetDateTime>),
    /// For `[in …]`.
    List(Column),
    /// For [`Statement::push_rows`].
    Rows(Bulk),
}

/// A part of a statement's text.
#[derive(Debug, Clone)]
enum Piece {
    Text(Sql),
    /// The table `new` of the rows that are bound as the value of this number.
    Rows(usize),
    /// The beginning of a statement, by its number, that is not the last of several.
    Begin(usize),
    /// Its end.
    End,
}

/// A statement with its values.
#[derive(Debug, Clone)]
pub(super) struct Statement<'a> {
    pieces: Vec<Piece>,
    params: Vec<Param<'a>>,
}

impl From<Sql> for Statement<'_> {
    fn from(sql: Sql) -> Self {
        Self { pieces: vec![Piece::Text(sql)], params: Vec::new() }
    }
}

impl<'a> Statement<'a> {
    /// Adds the next value.
    pub(super) fn bind(mut self, value: impl Into<Param<'a>>) -> Self {
        self.params.push(value.into());
        self
    }

    /// Adds a part of the text, if there is one. All parts share the numbers of the values, also of unused ones.
    pub(super) fn push(mut self, part: impl Into<Option<Sql>>) -> Self {
        self.pieces.extend(part.into().map(Piece::Text));
        self
    }

    /// Adds many rows as the table `new`; its column `place` is their order. Bind no value after them.
    pub(super) fn push_rows(mut self, rows: Bulk) -> Self {
        self.pieces.push(Piece::Rows(self.params.len()));
        self.params.push(Param::Rows(rows));
        self
    }

    /// Several statements as one request. They concern different rows, because PostgreSQL runs them in any order, and have
    /// no values but many rows, because the numbers of others would stay as they are.
    pub(super) fn merged(statements: Vec<Self>) -> Self {
        let mut merged = Self { pieces: Vec::new(), params: Vec::new() };
        let last = statements.len().saturating_sub(1);
        for (number, statement) in statements.into_iter().enumerate() {
            debug_assert!(statement.params.iter().all(|param| matches!(param, Param::Rows(_))));
            let before = merged.params.len();
            if number < last {
                merged.pieces.push(Piece::Begin(number));
            }
            merged.pieces.extend(statement.pieces.into_iter().map(|piece| match piece {
                Piece::Rows(rows) => Piece::Rows(before + rows),
                other => other,
            }));
            merged.params.extend(statement.params);
            if number < last {
                merged.pieces.push(Piece::End);
            }
        }
        merged
    }

    /// The statement that tells the plan of this one.
    #[cfg(test)]
    pub(super) fn explained(mut self) -> Self {
        self.pieces.insert(0, Piece::Text(sql!("explain query plan ")));
        self
    }

    /// The query of one database.
    pub(super) fn query<'q, DB: Dialect>(&self) -> Query<'q, DB, DB::Arguments> {
        let text = match self.pieces.as_slice() {
            [Piece::Text(only)] => DB::text(only).into_sql_str(),
            pieces => AssertSqlSafe(pieces.iter().map(|piece| self.text::<DB>(piece)).collect::<String>())
                .into_sql_str(),
        };
        self.params.iter().fold(sqlx::query(text), DB::bind)
    }

    /// The number of a value in the statement's text, which has `before` values before it.
    fn number<DB: Dialect>(&self, before: usize) -> usize {
        let places = |param: &Param<'_>| match param {
            Param::Rows(rows) => DB::places(rows),
            _ => 1,
        };
        1 + self.params.iter().take(before).map(places).sum::<usize>()
    }

    fn text<DB: Dialect>(&self, piece: &Piece) -> Cow<'static, str> {
        match piece {
            Piece::Text(sql) => DB::text(sql).into(),
            Piece::Rows(before) => match self.params.get(*before) {
                Some(Param::Rows(rows)) => DB::table(rows, self.number::<DB>(*before)).into(),
                _ => Cow::default(),
            },
            Piece::Begin(number) => DB::begin(*number).into(),
            Piece::End => DB::END.into(),
        }
    }
}

/// How a database takes statements and values.
pub(super) trait Dialect: sqlx::Database<Row: Columns, Arguments: IntoArguments<Self>> {
    /// What stands between two of several statements ([`Statement::merged`]).
    const END: &'static str;
    /// What stands before a statement that is not the last of several.
    fn begin(number: usize) -> String;
    /// The statement in its dialect.
    fn text(sql: &Sql) -> &'static str;
    /// Many rows as the table `new`, bound from this number on.
    fn table(rows: &Bulk, number: usize) -> String;
    /// How many values the rows are bound as.
    fn places(rows: &Bulk) -> usize;
    /// Binds the next value with the type of its columns.
    fn bind<'q>(
        query: Query<'q, Self, Self::Arguments>,
        value: &Param<'_>,
    ) -> Query<'q, Self, Self::Arguments>;
    /// How many rows a statement changed.
    fn changed(result: &Self::QueryResult) -> u64;
}

macro_rules! params {
    ($($variant:ident: $value:ty => $convert:expr;)+) => {
        $(impl<'a> From<$value> for Param<'a> {
            fn from(value: $value) -> Self {
                let convert: fn($value) -> _ = $convert;
                Self::$variant(convert(value))
            }
        })+
    };
}

params! {
    Id: Uuid => Some;
    Id: Option<Uuid> => |id| id;
    Text: &'a str => |text| Some(text.into());
    Text: &'a String => |text| Some(text.as_str().into());
    Text: String => |text| Some(text.into());
    Text: Option<&'a str> => |text| text.map(Cow::from);
    Text: &'a Option<String> => |text| text.as_deref().map(Cow::from);
    Bytes: &'a [u8] => |bytes| bytes;
    Number: i64 => Some;
    Number: u32 => |number| Some(number.into());
    Number: Option<i64> => |number| number;
    Time: OffsetDateTime => Some;
    Time: Option<OffsetDateTime> => |at| at;
    List: &[Uuid] => |ids| Column::Ids(ids.iter().copied().map(Some).collect());
    List: Vec<Uuid> => |ids| Column::Ids(ids.into_iter().map(Some).collect());
    List: &[&str] => |texts| Column::Texts(texts.iter().map(|text| Some((*text).to_owned())).collect());
    List: Vec<&str> => |texts| Column::Texts(texts.into_iter().map(|text| Some(text.to_owned())).collect());
    List: Vec<i64> => |numbers| Column::Numbers(numbers.into_iter().map(Some).collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::bulk;

    #[test]
    fn several_statements_number_their_values_one_after_another() {
        let bodies: [&[u8]; 2] = [b"a", b""];
        let first =
            bulk::rows(&bodies).bytes("body", |body| *body).number("length", |body| body.len() as i64);
        let second = bulk::rows(&bodies).number("length", |body| body.len() as i64);
        let statement = |rows| Statement::from(sql!("insert into t select 1 from")).push_rows(rows);
        let merged = Statement::merged(vec![statement(first.build()), statement(second.build())]);
        // The first has a JSON text and its bytes.
        let sqlite: String = merged.pieces.iter().map(|piece| merged.text::<sqlx::Sqlite>(piece)).collect();
        assert!(sqlite.contains("json_each($1)") && sqlite.contains("substr($2,"), "{sqlite}");
        assert!(sqlite.contains("json_each($3)"), "{sqlite}");
        let postgres: String =
            merged.pieces.iter().map(|piece| merged.text::<sqlx::Postgres>(piece)).collect();
        assert!(postgres.contains("unnest($1::bytea[], $2::bigint[])"), "{postgres}");
        assert!(postgres.contains("unnest($3::bigint[])"), "{postgres}");
        assert!(postgres.starts_with("with part0 as (insert"), "{postgres}");
    }
}
