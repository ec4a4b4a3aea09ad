//! How PostgreSQL takes values and gives columns.

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow};
use sqlx::query::Query;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::event::timestamp::millis;
use crate::store::bulk::{Bulk, Column};
use crate::store::columns::{Columns, plain_columns};
use crate::store::failures::StoreError;
use crate::store::sql::{Dialect, Param, Sql};

impl Dialect for sqlx::Postgres {
    const END: &'static str = ") ";

    /// Statements that write run within the last one.
    fn begin(number: usize) -> String {
        format!("{} part{number} as (", if number == 0 { "with" } else { "," })
    }

    fn text(sql: &Sql) -> &'static str {
        sql.postgres
    }

    fn table(rows: &Bulk, number: usize) -> String {
        let names: Vec<&str> = rows.columns.iter().map(|(name, _)| *name).collect();
        let arrays: Vec<String> = (number..)
            .zip(&rows.columns)
            .map(|(number, (_, column))| format!("${number}::{}", column.postgres_type()))
            .collect();
        format!(" unnest({}) with ordinality as new ({}, place)", arrays.join(", "), names.join(", "))
    }

    /// An array for each column.
    fn places(rows: &Bulk) -> usize {
        rows.columns.len()
    }

    fn bind<'q>(query: Query<'q, Self, PgArguments>, value: &Param<'_>) -> Query<'q, Self, PgArguments> {
        match value {
            Param::Id(id) => query.bind(*id),
            Param::Text(text) => query.bind(text.as_deref()),
            Param::Bytes(bytes) => query.bind(*bytes),
            Param::Number(number) => query.bind(*number),
            Param::Time(at) => query.bind(at.map(millis)),
            Param::List(column) => bind_column(query, column),
            Param::Rows(rows) => rows.columns.iter().map(|(_, column)| column).fold(query, bind_column),
        }
    }

    fn changed(result: &PgQueryResult) -> u64 {
        result.rows_affected()
    }
}

fn bind_column<'q>(
    query: Query<'q, sqlx::Postgres, PgArguments>,
    column: &Column,
) -> Query<'q, sqlx::Postgres, PgArguments> {
    match column {
        Column::Ids(ids) => query.bind(ids),
        Column::Texts(texts) => query.bind(texts),
        Column::Bytes(bytes) => query.bind(bytes),
        Column::Numbers(numbers) => query.bind(numbers),
        Column::Fractions(fractions) => query.bind(fractions),
        Column::Flags(flags) => query.bind(flags),
        Column::Times(times) => query.bind(times.iter().map(|at| at.map(millis)).collect::<Vec<_>>()),
    }
}

impl Columns for PgRow {
    plain_columns! {
        opt_id: Option<Uuid>;
        opt_time: Option<OffsetDateTime>;
        opt_text: Option<String>;
        opt_number: Option<i64>;
        bytes: Vec<u8>;
        fraction: f64;
        flag: bool;
    }
}
