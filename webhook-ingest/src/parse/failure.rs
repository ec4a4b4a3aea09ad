//! Why a message failed, as a sentence for its author.

use common::failure::reason_of;
use common::store::Failure;
use serde_json::Value;

/// The longest reason that is kept, in characters.
const MAX_REASON: usize = 200;
/// The longest code that is kept.
const MAX_CODE: usize = 32;

/// The failure of a recipient: the first of the payload's `errors`, else what the status word says.
pub(super) fn of(errors: Option<&Value>, status: &str) -> Failure {
    let (code, reason) = first(errors);
    Failure {
        reason: reason.unwrap_or_else(|| sentence_of_status(status).to_owned()),
        code: code.unwrap_or_else(|| if status.is_empty() { "failed".into() } else { status.to_owned() }),
    }
}

/// What a carrier says of a recipient that has not failed; `None` if it names no code or says nothing of it.
pub(super) fn explanation(errors: Option<&Value>) -> Option<Failure> {
    let (code, reason) = first(errors);
    Some(Failure { code: code?, reason: reason? })
}

/// Code and reason of the first of a payload's `errors`.
fn first(errors: Option<&Value>) -> (Option<String>, Option<String>) {
    let error = errors.and_then(Value::as_array).and_then(|errors| errors.first());
    let field = |key| error.and_then(|error| error.get(key));
    let code = match field("code") {
        Some(Value::String(code)) => clean(code, MAX_CODE),
        Some(Value::Number(code)) => Some(code.to_string()),
        _ => None,
    };
    let said = ["title", "detail"].into_iter().find_map(|key| clean(field(key)?.as_str()?, MAX_REASON));
    let known = code.as_deref().and_then(reason_of).map(str::to_owned);
    (code, known.or(said))
}

fn sentence_of_status(status: &str) -> &'static str {
    match status {
        "sending_failed" => "It could not be handed to the carrier.",
        "expired" => "It expired before it could be delivered.",
        "cancelled" => "Sending was cancelled.",
        _ => "The carrier could not deliver it.",
    }
}

/// Without control characters, cut; `None` if nothing is left.
fn clean(text: &str, longest: usize) -> Option<String> {
    let clean: String = text.chars().filter(|c| !c.is_control()).take(longest).collect();
    (!clean.trim().is_empty()).then_some(clean)
}
