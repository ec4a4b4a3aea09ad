//! The API as an OpenAPI document: what the routes say of themselves, and the errors of each.

use std::collections::BTreeMap;

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::error::{Code, Failure};

/// Errors of every route.
const ALWAYS: [Code; 9] = [
    Code::TokenMissing,
    Code::TokenInvalid,
    Code::TokenExpired,
    Code::TokenRevoked,
    Code::ChurchMissing,
    Code::ChurchMalformed,
    Code::Internal,
    Code::Unavailable,
    Code::TimedOut,
];

/// Errors of a route besides. The operation's id is its handler's name.
fn errors(operation: &str) -> &'static [Code] {
    match operation {
        "send" => &[
            Code::BodyMalformed,
            Code::RoleNotAllowed,
            Code::BodyTooLarge,
            Code::Invalid,
            Code::NoRecipients,
            Code::TooManyRecipients,
            Code::UnknownTarget,
            Code::DirectoryUnavailable,
            Code::NoSender,
            Code::IdempotencyKeyReused,
            Code::RecipientsUnavailable,
            Code::OutcomeUnknown,
            Code::RecipientsTimedOut,
        ],
        "history" | "inbound" => &[Code::Invalid],
        "show" => &[Code::MessageNotFound, Code::RouteNotFound],
        "recipients" => &[Code::MessageNotFound, Code::RouteNotFound, Code::Invalid],
        "cancel" => &[Code::RoleNotAllowed, Code::MessageNotFound, Code::RouteNotFound],
        "retry" => &[
            Code::BodyMalformed,
            Code::RoleNotAllowed,
            Code::MessageNotFound,
            Code::RouteNotFound,
            Code::BodyTooLarge,
            Code::Invalid,
            Code::NoSender,
            Code::NothingToRetry,
        ],
        _ => &[],
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Church messages",
        description = "Sends texts and lists them. A bearer token (JWT) names the caller's church and user.",
    ),
    components(schemas(Failure)),
    modifiers(&BearerToken),
    security(("token" = [])),
    tags((name = "messages", description = "A church's messages, and the texts that it receives")),
)]
struct Description;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The routes, with the document's frame and the errors of each.
pub(crate) fn described(routes: OpenApiRouter<App>) -> OpenApiRouter<App> {
    let mut described = OpenApiRouter::with_openapi(Description::openapi()).merge(routes);
    for path in described.get_openapi_mut().paths.paths.values_mut() {
        for operation in [&mut path.get, &mut path.post, &mut path.delete].into_iter().flatten() {
            let codes = errors(operation.operation_id.as_deref().unwrap_or_default());
            add_errors(operation, codes);
        }
    }
    described
}

/// Adds one answer for each status, which lists its codes.
fn add_errors(operation: &mut Operation, codes: &[Code]) {
    let mut by_status = BTreeMap::<_, Vec<Code>>::new();
    for code in ALWAYS.iter().chain(codes) {
        by_status.entry(code.status()).or_default().push(*code);
    }
    for (status, codes) in by_status {
        operation.responses.responses.insert(status.as_str().to_owned(), answer(&codes).into());
    }
}

fn answer(codes: &[Code]) -> Response {
    let lines = codes.iter().map(|code| format!("- `{}`: {}", code.as_str(), code.meaning()));
    let content = Content::new(Some(Ref::from_schema_name("Failure")));
    let description = lines.collect::<Vec<_>>().join("\n");
    ResponseBuilder::new().description(description).content("application/json", content).build()
}
