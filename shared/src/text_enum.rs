//! Enums with one text a variant, which the database, JSON and OpenAPI share.

/// Declares an enum and the text of each variant: in columns of type `text`, in JSON and, where it
/// derives `utoipa::ToSchema`, in OpenAPI. A variant with `#[serde(other)]` is what any other text is
/// read as.
macro_rules! text_enum {
    // A text is a `tt`: as a `literal`, utoipa would not see what it is.
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $text:tt,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All of them, in their order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The one of this text, if there is one.
            #[must_use]
            pub fn of(text: &str) -> Option<Self> {
                use serde::{Deserialize, de::{IntoDeserializer, value::{Error, StrDeserializer}}};

                let text: StrDeserializer<'_, Error> = text.into_deserializer();
                Self::deserialize(text).ok()
            }
        }

        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <str as sqlx::Type<sqlx::Postgres>>::type_info()
            }

            fn compatible(info: &sqlx::postgres::PgTypeInfo) -> bool {
                <str as sqlx::Type<sqlx::Postgres>>::compatible(info)
            }
        }

        impl sqlx::Encode<'_, sqlx::Postgres> for $name {
            fn encode_by_ref(
                &self,
                buffer: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                sqlx::Encode::<sqlx::Postgres>::encode_by_ref(&self.as_str(), buffer)
            }
        }

        impl<'r> sqlx::Decode<'r, sqlx::Postgres> for $name {
            fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                let text = <&str as sqlx::Decode<sqlx::Postgres>>::decode(value)?;
                Self::of(text).ok_or_else(|| format!("{text:?} is no {}", stringify!($name)).into())
            }
        }
    };
}
pub(crate) use text_enum;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::{access::Role, delivery::DeliveryState, members::MemberStatus, threads::Kind};

    const SCHEMA: &str = include_str!("../migrations/20261120000001_core.sql");

    /// The texts that the schema allows in a column.
    fn allowed(column: &str) -> BTreeSet<&'static str> {
        let (_, list) = SCHEMA.split_once(&format!("({column} IN (")).expect("a list");
        let (list, _) = list.split_once(')').expect("its end");
        list.split('\'').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_schema_allows_these_and_no_others() {
        let texts = |all: &[&'static str]| all.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(
            allowed("kind"),
            texts(&[Kind::Family, Kind::Dm, Kind::Group].map(Kind::as_str))
        );
        assert_eq!(allowed("role"), Role::ALL.iter().map(|role| role.as_str()).collect());
        assert_eq!(allowed("status"), MemberStatus::ALL.iter().map(|s| s.as_str()).collect());
        assert_eq!(allowed("state"), DeliveryState::ALL.iter().map(|s| s.as_str()).collect());
    }

    #[test]
    fn a_text_is_the_same_in_json() {
        for &role in Role::ALL {
            assert_eq!(serde_json::to_value(role).expect("JSON"), role.as_str());
            assert_eq!(Role::of(role.as_str()), Some(role));
        }
        assert_eq!(Role::of("owner"), None);
    }
}
