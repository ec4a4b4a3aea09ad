//! The body of every error answer.

use serde::Serialize;
use utoipa::ToSchema;

use super::code::Code;
use super::problems::Problem;

/// The body of every error answer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "success": false, "error": "some fields are missing or wrong", "code": "invalid",
    "details": [{"field": "content", "message": "write a text with visible characters"}],
}))]
pub(crate) struct Failure {
    /// Always false.
    pub success: bool,
    /// For a person, in English.
    pub error: String,
    /// For a program.
    pub code: Code,
    /// What is wrong with each field: the first 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub details: Vec<Problem>,
    /// The number of problems, if `details` does not list all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub problem_count: Option<usize>,
}
