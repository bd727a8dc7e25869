//! Words of the store: parsed and written unchanged, and listed in the document.

/// Implements a shape for a type with `ALL`, `as_str` and `parse`.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident of $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(in crate::admin::api) struct $name(pub $inner);

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                let known = || <$inner>::ALL.map(|one| one.as_str()).join(", ");
                let found = <$inner>::ALL.into_iter().find(|one| one.as_str() == text);
                found.map($name).ok_or_else(|| serde::de::Error::custom(format!("use one of {}", known())))
            }
        }

        impl utoipa::ToSchema for $name {}

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .enum_values(Some(<$inner>::ALL.map(|one| one.as_str())))
                    .into()
            }
        }
    };
}

pub(super) use word;
