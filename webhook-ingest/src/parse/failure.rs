//! Why a message failed, for whoever wrote it: a sentence instead of a carrier's code.

use common::store::Failure;
use serde_json::Value;

/// The longest reason that is kept, in characters.
const MAX_REASON: usize = 200;
/// The longest code that is kept.
const MAX_CODE: usize = 32;

/// The failure of a recipient: the first of the payload's `errors`, else what the status word says.
pub(super) fn of(errors: Option<&Value>, status: &str) -> Failure {
    let error = errors.and_then(Value::as_array).and_then(|errors| errors.first());
    let field = |key| error.and_then(|error| error.get(key));
    let code = match field("code") {
        Some(Value::String(code)) => clean(code, MAX_CODE),
        Some(Value::Number(code)) => Some(code.to_string()),
        _ => None,
    };
    let said = ["title", "detail"].into_iter().find_map(|key| clean(field(key)?.as_str()?, MAX_REASON));
    let known = code.as_deref().and_then(sentence_of_code).map(str::to_owned);
    Failure {
        reason: known.or(said).unwrap_or_else(|| sentence_of_status(status).to_owned()),
        code: code.unwrap_or_else(|| if status.is_empty() { "failed".into() } else { status.to_owned() }),
    }
}

fn sentence_of_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "40001" => "The number can't be reached by text message.",
        "40002" | "40003" | "40322" => "The carrier blocked the text as unwanted.",
        "40006" | "40008" => "The carrier could not deliver it.",
        "40010" => "The sending number is not registered for texts to this country (10DLC).",
        "40300" => "The recipient has opted out (STOP).",
        "40302" => "The text is too long.",
        "40305" => "The sending number is not valid.",
        "40310" => "The recipient's number is not valid.",
        "40312" | "40314" => "Sending is disabled at the provider.",
        "40318" => "The provider's queue was full.",
        "40333" => "The provider's daily spend limit is reached.",
        _ => return None,
    })
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
