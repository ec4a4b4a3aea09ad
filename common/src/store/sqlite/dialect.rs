//! How SQLite takes values and gives columns: ids are texts, times are numbers, lists are JSON.

use serde_json::Value;
use sqlx::Row as _;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteQueryResult, SqliteRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::bulk::{Bulk, Column};
use crate::store::columns::{Columns, plain_columns};
use crate::store::failures::StoreError;
use crate::store::sql::{Dialect, Param, Sql};

impl Dialect for sqlx::Sqlite {
    const END: &'static str = "; ";

    /// They run one after another.
    fn begin(_: usize) -> String {
        String::new()
    }

    fn text(sql: &Sql) -> &'static str {
        sql.sqlite
    }

    fn table(rows: &Bulk, number: usize) -> String {
        let mut columns = String::new();
        let mut index = 0;
        for (name, column) in &rows.columns {
            let bytes = number + 1;
            let (value, width) = match column {
                Column::Bytes(_) => {
                    (format!("substr(${bytes}, value ->> {index}, value ->> {})", index + 1), 2)
                }
                _ => (format!("value ->> {index}"), 1),
            };
            columns += &format!("{value} as {name}, ");
            index += width;
        }
        format!(" (select {columns}key as place from json_each(${number})) as new")
    }

    /// A JSON text; if there are bytes, all of them one after another.
    fn places(rows: &Bulk) -> usize {
        1 + usize::from(bytes(rows).next().is_some())
    }

    fn bind<'q>(
        query: Query<'q, Self, SqliteArguments>,
        value: &Param<'_>,
    ) -> Query<'q, Self, SqliteArguments> {
        match value {
            Param::Id(id) => query.bind(id.map(|id| id.to_string())),
            Param::Text(text) => query.bind(text.as_deref()),
            Param::Bytes(bytes) => query.bind(*bytes),
            Param::Number(number) => query.bind(*number),
            Param::Time(at) => query.bind(at.map(millis)),
            Param::List(column) => query.bind(Value::Array(values(column)).to_string()),
            Param::Rows(rows) => {
                let query = query.bind(json_rows(rows));
                match bytes(rows).next() {
                    Some(_) => query.bind(one_after_another(rows)),
                    None => query,
                }
            }
        }
    }

    fn changed(result: &SqliteQueryResult) -> u64 {
        result.rows_affected()
    }
}

/// A moment as SQLite keeps it: milliseconds since 1970.
pub(super) fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// The columns of bytes.
fn bytes(rows: &Bulk) -> impl Iterator<Item = &Vec<Vec<u8>>> {
    rows.columns.iter().filter_map(|(_, column)| match column {
        Column::Bytes(bytes) => Some(bytes),
        _ => None,
    })
}

/// All bytes behind a first one: SQLite takes a part of no bytes for null.
fn one_after_another(rows: &Bulk) -> Vec<u8> {
    let mut all = vec![0];
    bytes(rows).flatten().for_each(|bytes| all.extend_from_slice(bytes));
    all
}

/// Rows as JSON: one array for each. JSON carries no bytes; it has the place of each among all bytes, and its length.
fn json_rows(rows: &Bulk) -> String {
    let mut columns = Vec::with_capacity(rows.columns.len() + 1);
    // SQLite counts bytes from 1, and the first one is no row's.
    let mut place = 2;
    for (_, column) in &rows.columns {
        if let Column::Bytes(bytes) = column {
            let mut places = Vec::with_capacity(bytes.len());
            for bytes in bytes {
                places.push(Value::from(place));
                place += bytes.len();
            }
            columns.push(places.into_iter());
        }
        columns.push(values(column).into_iter());
    }
    let row = |_| Value::Array(columns.iter_mut().filter_map(Iterator::next).collect());
    Value::Array((0..rows.rows).map(row).collect()).to_string()
}

/// A column as JSON values; bytes only by their length.
fn values(column: &Column) -> Vec<Value> {
    match column {
        Column::Ids(ids) => ids.iter().map(|id| id.map(|id| id.to_string()).into()).collect(),
        Column::Texts(texts) => texts.iter().map(|text| text.as_deref().into()).collect(),
        Column::Bytes(bytes) => bytes.iter().map(|bytes| bytes.len().into()).collect(),
        Column::Numbers(numbers) => numbers.iter().map(|number| (*number).into()).collect(),
        Column::Fractions(fractions) => fractions.iter().map(|fraction| (*fraction).into()).collect(),
        Column::Flags(flags) => flags.iter().map(|flag| (*flag).into()).collect(),
        Column::Times(times) => times.iter().map(|at| at.map(millis).into()).collect(),
    }
}

impl Columns for SqliteRow {
    fn opt_id(&self, name: &str) -> Result<Option<Uuid>, StoreError> {
        let text: Option<String> = self.try_get(name)?;
        text.map(|text| text.parse().map_err(|_| StoreError::Unreadable(format!("{name} is no id"))))
            .transpose()
    }

    fn opt_time(&self, name: &str) -> Result<Option<OffsetDateTime>, StoreError> {
        let number: Option<i64> = self.try_get(name)?;
        let time = |ms: i64| OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
        number.map(time).transpose().map_err(|_| StoreError::Unreadable(format!("{name} is no time")))
    }

    plain_columns! {
        opt_text: Option<String>;
        opt_number: Option<i64>;
        bytes: Vec<u8>;
        fraction: f64;
    }

    fn flag(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.number(name)? != 0)
    }
}
