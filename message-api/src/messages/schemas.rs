//! What the types don't tell the API's document: limits, forms and examples.

use common::inbound::OptOut;
use common::status::MessageStatus;
use serde_json::Value;
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{Array, Object, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::limits::{
    LAST_PAGE, MAX_DAYS_AHEAD, MAX_ID_CHARS, MAX_MEDIA, MAX_NAME_CHARS, MAX_PAGE, MAX_RECIPIENTS_PAGE,
    MAX_URL_LEN, PAGE,
};
use crate::directory::{MAX_RECIPIENTS, TARGET_TYPES};
use crate::segments::{MAX_SEGMENTS, SEGMENT_CHARS};

/// The component `MessageStatus`.
pub(super) struct Status;

impl PartialSchema for Status {
    fn schema() -> RefOr<Schema> {
        let words = MessageStatus::ALL.map(MessageStatus::as_str);
        let help = "`pending` while a recipient is not finished; then the furthest that one recipient got";
        string().enum_values(Some(words)).description(Some(help)).into()
    }
}

impl ToSchema for Status {
    fn name() -> std::borrow::Cow<'static, str> {
        "MessageStatus".into()
    }
}

pub(super) fn opt_out() -> Object {
    string().enum_values(Some(OptOut::ALL.map(OptOut::as_str))).build()
}

pub(super) fn content() -> Object {
    let help =
        "At most 10 SMS segments: 1,530 characters of the GSM alphabet, or 670 UTF-16 units of any other";
    let text = string().min_length(Some(1)).max_length(Some(MAX_SEGMENTS * SEGMENT_CHARS));
    text.description(Some(help)).examples(["Service is at ten"]).build()
}

pub(super) fn phone() -> Object {
    let help = "With country code. Without one only if the service has DEFAULT_COUNTRY";
    string().description(Some(help)).examples(["+15551230101"]).build()
}

pub(super) fn id() -> Object {
    string_or_null().max_length(Some(MAX_ID_CHARS)).build()
}

pub(super) fn name() -> Object {
    string_or_null().max_length(Some(MAX_NAME_CHARS)).build()
}

pub(super) fn target_type() -> Object {
    let help = "With `targetIds`: who is meant. With `recipients`: kept for the front end";
    let kinds = TARGET_TYPES.map(Value::from).into_iter().chain([Value::Null]);
    string_or_null().enum_values(Some(kinds)).description(Some(help)).build()
}

pub(super) fn target_ids() -> Array {
    let help = "Ids of the product's back end. Needed for each targetType but `all`";
    array_or_null().items(id()).max_items(Some(MAX_RECIPIENTS)).description(Some(help)).build()
}

pub(super) fn media_urls() -> Array {
    let url = string_or_null().format(Some(SchemaFormat::Custom("uri".into()))).max_length(Some(MAX_URL_LEN));
    array_or_null().items(url).max_items(Some(MAX_MEDIA)).build()
}

pub(super) fn send_at() -> Object {
    let help = format!("At most {MAX_DAYS_AHEAD} days ahead. A past time means now");
    date_time().schema_type(or_null(Type::String)).description(Some(help)).build()
}

pub(super) fn updated_since() -> Object {
    let help =
        "Only what changed since then: the `asOf` of the answer before. The server goes back 20 s further";
    date_time().description(Some(help)).build()
}

pub(super) fn page() -> Object {
    number(LAST_PAGE, 1)
}

pub(super) fn limit() -> Object {
    number(MAX_PAGE, PAGE)
}

pub(super) fn recipients_limit() -> Object {
    number(MAX_RECIPIENTS_PAGE, MAX_RECIPIENTS_PAGE)
}

pub(super) fn status_filter() -> Object {
    let help = "In the history, `sent` also finds `delivered` and `read`";
    string().enum_values(Some(MessageStatus::ALL.map(MessageStatus::as_str))).description(Some(help)).build()
}

pub(super) fn cursor() -> Object {
    string().description(Some("The next page: `nextCursor` or `recipientsNext` of the answer before")).build()
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// An optional field of a body: null counts as absent.
fn string_or_null() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(or_null(Type::String))
}

fn array_or_null() -> ArrayBuilder {
    ArrayBuilder::new().schema_type(or_null(Type::Array))
}

fn or_null(kind: Type) -> SchemaType {
    SchemaType::Array(vec![kind, Type::Null])
}

fn date_time() -> ObjectBuilder {
    let format = Some(SchemaFormat::KnownFormat(KnownFormat::DateTime));
    string().format(format).examples(["2026-11-22T20:15:31.123Z"])
}

fn number(most: u32, default: u32) -> Object {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(most));
    number.default(Some(default.into())).build()
}
