//! Every error answer: one envelope, and one place that maps errors to answers and logs them.

mod api_error;
mod code;
mod failure;
mod problems;

pub(crate) use api_error::ApiError;
pub(crate) use code::Code;
pub(crate) use failure::Failure;
pub(crate) use problems::{Problem, Problems};
