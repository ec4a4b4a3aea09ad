//! Many values as parameters of a statement: an array for each column in PostgreSQL, a JSON text in SQLite, with all bytes
//! as another one.

use time::OffsetDateTime;
use uuid::Uuid;

/// The values of one column.
#[derive(Debug, Clone)]
pub(super) enum Column {
    Ids(Vec<Option<Uuid>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Vec<u8>>),
    Numbers(Vec<Option<i64>>),
    Fractions(Vec<f64>),
    Flags(Vec<bool>),
    Times(Vec<Option<OffsetDateTime>>),
}

impl Column {
    /// The type of its array in PostgreSQL.
    pub(super) fn postgres_type(&self) -> &'static str {
        match self {
            Self::Ids(_) => "uuid[]",
            Self::Texts(_) => "text[]",
            Self::Bytes(_) => "bytea[]",
            Self::Numbers(_) => "bigint[]",
            Self::Fractions(_) => "double precision[]",
            Self::Flags(_) => "boolean[]",
            Self::Times(_) => "timestamptz[]",
        }
    }
}

/// Many rows: their columns by name.
#[derive(Debug, Clone)]
pub(super) struct Bulk {
    pub(super) rows: usize,
    pub(super) columns: Vec<(&'static str, Column)>,
}

/// Adds columns to the rows made of items.
pub(super) struct Builder<'a, T> {
    items: &'a [T],
    columns: Vec<(&'static str, Column)>,
}

/// One row for each item, with no column yet.
pub(super) fn rows<T>(items: &[T]) -> Builder<'_, T> {
    Builder { items, columns: Vec::new() }
}

macro_rules! columns {
    ($($method:ident: $value:ty => $variant:ident, $convert:expr;)+) => {
        impl<'a, T> Builder<'a, T> {
            $(pub(super) fn $method(mut self, name: &'static str, value: impl Fn(&'a T) -> $value) -> Self {
                let values = self.items.iter().map(value).map($convert).collect();
                self.columns.push((name, Column::$variant(values)));
                self
            })+

            pub(super) fn build(self) -> Bulk {
                Bulk { rows: self.items.len(), columns: self.columns }
            }
        }
    };
}

columns! {
    id: Uuid => Ids, Some;
    opt_id: Option<Uuid> => Ids, |id| id;
    text: &'a str => Texts, |text| Some(text.to_owned());
    opt_text: Option<String> => Texts, |text| text;
    bytes: &'a [u8] => Bytes, <[u8]>::to_vec;
    number: i64 => Numbers, Some;
    opt_number: Option<i64> => Numbers, |number| number;
    fraction: f64 => Fractions, |fraction| fraction;
    flag: bool => Flags, |flag| flag;
    time: OffsetDateTime => Times, Some;
    opt_time: Option<OffsetDateTime> => Times, |at| at;
}
