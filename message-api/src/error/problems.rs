//! What is wrong with the fields of a request.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The field's path, as in `recipients[3].phone`.
    #[schema(example = "recipients[3].phone")]
    pub field: String,
    /// What to do about it.
    pub message: String,
}

impl Problem {
    /// Names the field and says what to do.
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Everything that is wrong with a request: the first problems, and their number.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    listed: Vec<Problem>,
    count: usize,
}

impl Problems {
    /// Most problems that an answer lists.
    pub(crate) const LISTED: usize = 20;

    /// Adds one.
    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.count += 1;
        if self.listed.len() < Self::LISTED {
            self.listed.push(Problem::new(field, message));
        }
    }

    /// The value; or notes the problem and returns `None`.
    pub(crate) fn note<T>(&mut self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.add(problem.field, problem.message)).ok()
    }

    /// # Errors
    /// At least one problem was added.
    pub(crate) fn into_result(self) -> Result<(), Self> {
        if self.count == 0 { Ok(()) } else { Err(self) }
    }

    /// The listed problems, and the number of all if these are not all.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Option<usize>) {
        let all = Some(self.count).filter(|count| *count > self.listed.len());
        (self.listed, all)
    }

    /// The fields of the listed problems.
    #[cfg(test)]
    pub(crate) fn fields(&self) -> Vec<&str> {
        self.listed.iter().map(|problem| problem.field.as_str()).collect()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { listed: vec![problem], count: 1 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            count if count > self.listed.len() => {
                write!(f, "{count} fields are missing or wrong; the first {} are listed", self.listed.len())
            }
            _ => f.write_str("some fields are missing or wrong"),
        }
    }
}
