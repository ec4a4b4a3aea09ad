//! Copies a SQLite file into an empty PostgreSQL database, in one transaction, and compares counts and sums.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _, SqliteConnection};

use super::failures::StoreError;
use super::handle::{Backend, Store};

/// The tables to copy; a table after those that it refers to.
const TABLES: [&str; 11] = [
    "messages",
    "recipients",
    "webhooks",
    "outbox",
    "senders",
    "idempotency_keys",
    "revocations",
    "refused_events",
    "paces",
    "inbound",
    "pauses",
];
/// Rows in one statement.
const BATCH: i64 = 500;

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The first store is not SQLite, or the second not PostgreSQL.
    #[error("copies from SQLite to PostgreSQL only")]
    WrongKinds,
    /// The target has been used.
    #[error("the table {0} of the target has rows; copy into an empty database")]
    NotEmpty(&'static str),
    /// The databases are not at the same migration.
    #[error(
        "the schemas differ: migration {from} in SQLite, {to} in PostgreSQL; start this version on SQLite once"
    )]
    Schemas {
        /// SQLite's newest migration.
        from: i64,
        /// PostgreSQL's.
        to: i64,
    },
    /// What was read back is not what was copied.
    #[error("the copy of {table} differs in {what}: {from} in SQLite, {to} in PostgreSQL")]
    Differs {
        /// The table.
        table: &'static str,
        /// The count or sum.
        what: String,
        /// In SQLite.
        from: i64,
        /// In PostgreSQL.
        to: i64,
    },
    /// A database is away or refuses a row.
    #[error("can't copy {0}")]
    Store(&'static str, #[source] StoreError),
}

/// A table that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub table: &'static str,
    /// Its rows.
    pub rows: i64,
    /// How many counts and sums of it are the same in both databases.
    pub compared: usize,
}

/// A column, and its type in PostgreSQL.
struct Column {
    name: String,
    kind: String,
}

impl Store {
    /// Copies everything from this SQLite database into the PostgreSQL database `to`, whose schema is up to date and
    /// whose tables are empty. Either all is copied and compared, or nothing. Nobody can write to SQLite meanwhile; no
    /// service may run.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub async fn copy_into(&self, to: &Self) -> Result<Vec<CopiedTable>, CopyError> {
        let (Backend::Sqlite(from), Backend::Postgres(to)) = (&self.backend, &to.backend) else {
            return Err(CopyError::WrongKinds);
        };
        let opening = |error: sqlx::Error| CopyError::Store("the databases", error.into());
        let file = SqliteConnectOptions::new().filename(&from.file);
        let mut from = file.connect().await.map_err(opening)?;
        let options = (*to.options).clone().options([("statement_timeout", "0")]);
        let mut to = PgConnection::connect_with(&options).await.map_err(opening)?;
        run(&mut from, "begin immediate").await.map_err(opening)?;
        let copied = copy_all(&mut from, &mut to).await;
        run(&mut from, "rollback").await.map_err(opening)?;
        copied
    }
}

async fn copy_all(from: &mut SqliteConnection, to: &mut PgConnection) -> Result<Vec<CopiedTable>, CopyError> {
    let opening = |error: sqlx::Error| CopyError::Store("the databases", error.into());
    let mut tx = to.begin().await.map_err(opening)?;
    same_schema(from, &mut tx).await?;
    let mut copied = Vec::new();
    for table in TABLES {
        let columns = columns(&mut tx, table).await.map_err(|error| CopyError::Store(table, error.into()))?;
        refuse_rows(&mut tx, table).await?;
        copy(from, &mut tx, table, &columns).await.map_err(|error| CopyError::Store(table, error.into()))?;
        copied.push(compare(from, &mut tx, table, &columns).await?);
    }
    go_on_counting(from, &mut tx).await.map_err(opening)?;
    tx.commit().await.map_err(opening)?;
    Ok(copied)
}

async fn same_schema(from: &mut SqliteConnection, to: &mut PgConnection) -> Result<(), CopyError> {
    const NEWEST: &str = "select coalesce(max(version), 0) from _sqlx_migrations where success";
    let reading = |error: sqlx::Error| CopyError::Store("the schemas", error.into());
    let from = sqlx::query_scalar(NEWEST).fetch_one(from).await.map_err(reading)?;
    let to = sqlx::query_scalar(NEWEST).fetch_one(to).await.map_err(reading)?;
    if from == to { Ok(()) } else { Err(CopyError::Schemas { from, to }) }
}

async fn columns(to: &mut PgConnection, table: &str) -> Result<Vec<Column>, sqlx::Error> {
    const COLUMNS: &str = "select column_name::text, data_type::text from information_schema.columns
        where table_schema = current_schema() and table_name = $1 and is_generated = 'NEVER'
        order by ordinal_position";
    let rows = sqlx::query(COLUMNS).bind(table).fetch_all(to).await?;
    rows.iter().map(|row| Ok(Column { name: row.try_get(0)?, kind: row.try_get(1)? })).collect()
}

async fn refuse_rows(to: &mut PgConnection, table: &'static str) -> Result<(), CopyError> {
    let asked = sqlx::query_scalar(AssertSqlSafe(format!("select exists (select 1 from {table})")));
    match asked.fetch_one(to).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(CopyError::NotEmpty(table)),
        Err(error) => Err(CopyError::Store(table, error.into())),
    }
}

/// Copies the rows as arrays of JSON.
async fn copy(
    from: &mut SqliteConnection,
    to: &mut PgConnection,
    table: &str,
    columns: &[Column],
) -> Result<(), sqlx::Error> {
    let read = format!(
        "select rowid, json_array({}) from {table} where rowid > $1 order by rowid limit {BATCH}",
        list(columns, |_, column| column.read())
    );
    let write = format!(
        "insert into {table} ({}) overriding system value select {} from json_array_elements($1::json) e",
        list(columns, |_, column| column.name.clone()),
        list(columns, |at, column| column.write(at))
    );
    let mut after = i64::MIN;
    loop {
        let rows = sqlx::query(AssertSqlSafe(read.clone())).bind(after).fetch_all(&mut *from).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.try_get(0)?;
        let rows = rows.iter().map(|row| row.try_get::<String, _>(1)).collect::<Result<Vec<_>, _>>()?;
        let rows = format!("[{}]", rows.join(","));
        sqlx::query(AssertSqlSafe(write.clone())).bind(rows).execute(&mut *to).await?;
    }
}

/// Compares the number of rows, and of each column the number of values and their sum.
async fn compare(
    from: &mut SqliteConnection,
    to: &mut PgConnection,
    table: &'static str,
    columns: &[Column],
) -> Result<CopiedTable, CopyError> {
    let reading = |error: sqlx::Error| CopyError::Store(table, error.into());
    let of = |sum: fn(&Column) -> String| {
        let sums = list(columns, |_, it| format!("count({}), cast({} as bigint)", it.name, sum(it)));
        AssertSqlSafe(format!("select count(*), {sums} from {table}"))
    };
    let from = sqlx::query(of(Column::sum_in_sqlite)).fetch_one(from).await.map_err(reading)?;
    let to = sqlx::query(of(Column::sum_in_postgres)).fetch_one(to).await.map_err(reading)?;
    for place in 0..from.len() {
        let (left, right): (i64, i64) =
            (from.try_get(place).map_err(reading)?, to.try_get(place).map_err(reading)?);
        if left != right {
            let column = place.checked_sub(1).and_then(|place| columns.get(place / 2));
            let what = column.map_or("rows", |column| &column.name).to_owned();
            return Err(CopyError::Differs { table, what, from: left, to: right });
        }
    }
    Ok(CopiedTable { table, rows: from.try_get(0).map_err(reading)?, compared: from.len() })
}

/// New positions of the outbox come after all that were ever given.
async fn go_on_counting(from: &mut SqliteConnection, to: &mut PgConnection) -> Result<(), sqlx::Error> {
    const LAST: &str = "select seq from sqlite_sequence where name = 'outbox'";
    let Some(last): Option<i64> = sqlx::query_scalar(LAST).fetch_optional(from).await? else { return Ok(()) };
    let set = sqlx::query("select setval(pg_get_serial_sequence('outbox', 'position'), $1)");
    set.bind(last).execute(to).await.map(drop)
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(connection).await.map(drop)
}

fn list(columns: &[Column], part: impl Fn(usize, &Column) -> String) -> String {
    columns.iter().enumerate().map(|(at, column)| part(at, column)).collect::<Vec<_>>().join(", ")
}

impl Column {
    /// The value in SQLite as JSON takes it.
    fn read(&self) -> String {
        let name = &self.name;
        match self.kind.as_str() {
            "bytea" => format!("case when {name} is not null then hex({name}) end"),
            _ => name.clone(),
        }
    }

    /// The value for PostgreSQL from the array `e`.
    fn write(&self, at: usize) -> String {
        let value = format!("(e->>{at})");
        match self.kind.as_str() {
            "bytea" => format!("decode({value}, 'hex')"),
            "boolean" => format!("{value}::bigint <> 0"),
            // SQLite has milliseconds since 1970.
            "timestamp with time zone" => {
                format!("timestamptz 'epoch' + {value}::bigint * interval '1 millisecond'")
            }
            kind => format!("{value}::{kind}"),
        }
    }

    fn sum_in_sqlite(&self) -> String {
        let name = &self.name;
        match self.kind.as_str() {
            "bigint" | "boolean" | "timestamp with time zone" => remainders(name),
            // Rounding is not the same in both.
            "double precision" => "0".into(),
            _ => format!("coalesce(sum(length({name})), 0)"),
        }
    }

    fn sum_in_postgres(&self) -> String {
        let name = &self.name;
        match self.kind.as_str() {
            "bigint" => remainders(name),
            "boolean" => remainders(&format!("{name}::int")),
            "timestamp with time zone" => remainders(&format!("(extract(epoch from {name}) * 1000)::bigint")),
            "double precision" => "0".into(),
            "uuid" => format!("coalesce(sum(length({name}::text)), 0)"),
            _ => format!("coalesce(sum(length({name})), 0)"),
        }
    }
}

/// A sum that does not become too large for SQLite.
fn remainders(value: &str) -> String {
    format!("coalesce(sum({value} % 1000003), 0)")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::StoreOptions;

    #[tokio::test]
    async fn every_table_is_copied_or_left_out_on_purpose() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("church.db");
        let url = format!("sqlite:{}", file.display());
        let options = StoreOptions { database_url: url.into(), database_connections: 1 };
        Store::new(&options).unwrap().migrate().await.unwrap();
        let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
        let tables = sqlx::query_scalar::<_, String>("select name from sqlite_master where type = 'table'");
        let tables: BTreeSet<_> = tables.fetch_all(&mut connection).await.unwrap().into_iter().collect();
        // Of processes, which start anew; and SQLite's and the migrations' own.
        let left_out = ["relay_lease", "outbox_horizon", "writers", "_sqlx_migrations", "sqlite_sequence"];
        let known = TABLES.iter().chain(&left_out).map(|table| (*table).to_owned()).collect();
        assert_eq!(tables, known);
    }
}
