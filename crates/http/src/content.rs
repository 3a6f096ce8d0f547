//! What a request or an answer holds, for the document: a media type, and the schema of what
//! is in it.

use utoipa::openapi::{self, ContentBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema as _, ToSchema};

/// What a request or an answer holds: a media type, and the schema of what is in it.
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) schema: fn(&mut Schemas) -> RefOr<Schema>,
    /// Headers that an answer of this kind has, and what each says.
    pub(super) headers: &'static [(&'static str, &'static str)],
}

/// The schemas that were referred to, by their names.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

impl Content {
    /// JSON of a type.
    pub(super) const fn json<T: ToSchema>() -> Self {
        Self {
            media_type: "application/json",
            schema: reference::<T>,
            headers: &[],
        }
    }

    /// A form of a type.
    pub(super) const fn form<T: ToSchema>() -> Self {
        Self {
            media_type: "multipart/form-data",
            schema: reference::<T>,
            headers: &[],
        }
    }

    /// Text of some kind.
    pub(super) const fn text(media_type: &'static str) -> Self {
        Self {
            media_type,
            schema: |_| String::schema(),
            headers: &[],
        }
    }

    /// Bytes of some kind, and the headers that tell of them.
    pub(super) const fn bytes(
        media_type: &'static str,
        headers: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            media_type,
            schema: |_| String::schema(),
            headers,
        }
    }

    /// As the document has it.
    pub(super) fn described(&self, schemas: &mut Schemas) -> openapi::Content {
        let schema = (self.schema)(schemas);
        ContentBuilder::new().schema(Some(schema)).build()
    }
}

/// A reference to a type's schema, which is put among the others.
pub(super) fn reference<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    T::schemas(schemas);
    let name = T::name();
    schemas.push((name.clone().into_owned(), T::schema()));
    Ref::from_schema_name(name).into()
}
