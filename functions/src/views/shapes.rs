//! Schemas of the domain's string types: `shared` does not depend on OpenAPI.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

use super::Timestamp;

/// Schema of the id of that name.
pub struct FamilyId;
/// Schema of the id of that name.
pub struct UserId;
/// Schema of the id of that name.
pub struct FileId;
/// Schema of the id of that name.
pub struct ThreadId;
/// Schema of the id of that name.
pub struct MessageId;
/// Schema of the id of that name.
pub struct AuditEventId;
/// Schema of a country.
pub struct Region;
/// Schema of a phone number.
pub struct PhoneNumber;
/// Schema of every kind of cursor.
pub struct Cursor;

/// Gives each type a schema by its name: a string with an example and limits.
macro_rules! strings {
    ($($type:ident: $text:literal, $example:literal, $($limit:ident($value:expr)),+;)+) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some($text))
                    .examples([$example])
                    $(.$limit(Some($value)))+
                    .into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                stringify!($type).into()
            }
        }
    )+};
}

const HOST_ID: &str = "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$";
/// Version 7 (RFC 9562), without hyphens.
const UUID: &str = "[0-9a-f]{32}$";

strings! {
    FamilyId: "A family's id, chosen by the host application.", "fam_1", pattern(HOST_ID);
    UserId: "A user's id, chosen by the host application.", "grandma", pattern(HOST_ID);
    FileId: "A file's id, chosen by the host application.", "photo-17", pattern(HOST_ID);
    ThreadId: "A thread's id.", "th_019f2ab4c1d27e53a6c0f1e2d3b4a596", pattern(format!("^th_{UUID}"));
    MessageId: "A message's id.", "msg_019f2ab4c3047b12b1a9c8d7e6f5a4b3", pattern(format!("^msg_{UUID}"));
    AuditEventId: "An audit event's id.", "aud_019f2ab4c1d27e53a6c0f1e2d3b4a596",
        pattern(format!("^aud_{UUID}"));
    Region: "A country (ISO 3166-1 alpha-2).", "US", pattern("^[A-Z]{2}$");
    PhoneNumber: "A phone number in E.164.", "+15550100003", pattern("^[+][1-9][0-9]{6,14}$");
    Timestamp: "RFC 3339 in UTC with milliseconds.", "2026-11-24T06:30:00.000Z",
        format(SchemaFormat::KnownFormat(KnownFormat::DateTime)),
        pattern("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$");
    Cursor: "A position in a list. Opaque: take it from a response, unchanged.",
        "AFJU", pattern("^[A-Za-z0-9_-]{1,128}$");
}
