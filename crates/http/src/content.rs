//! What a request or an answer holds, for the document: a media type, and the schema of what
//! is in it.

use utoipa::openapi::{self, ContentBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema as _, ToSchema};

/// What a request or an answer holds: a media type, and the schema of what is in it.
pub(crate) struct Content {
    pub(crate) media_type: &'static str,
    pub(crate) schema: fn(&mut Schemas) -> RefOr<Schema>,
    /// Headers that an answer of this kind has, and what each says.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// What a request of this kind says outside of its body.
    pub(crate) parameters: &'static [Parameter],
}

/// What a request says outside of its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    pub(crate) kind: ParameterKind,
}

/// Where a parameter stands, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ParameterKind {
    /// A boolean in the query, and what it is where nothing is said.
    Query(bool),
    /// A header that is a whole number.
    Header,
}

/// The schemas that were referred to, by their names.
pub(crate) type Schemas = Vec<(String, RefOr<Schema>)>;

impl Content {
    /// JSON of a type.
    pub(crate) const fn json<T: ToSchema>() -> Self {
        Self {
            media_type: "application/json",
            schema: reference::<T>,
            headers: &[],
            parameters: &[],
        }
    }

    /// A form of a type.
    pub(crate) const fn form<T: ToSchema>() -> Self {
        Self {
            media_type: "multipart/form-data",
            schema: reference::<T>,
            headers: &[],
            parameters: &[],
        }
    }

    /// Text of some kind.
    pub(crate) const fn text(media_type: &'static str) -> Self {
        Self {
            media_type,
            schema: |_| String::schema(),
            headers: &[],
            parameters: &[],
        }
    }

    /// Bytes of some kind, and the headers that tell of them.
    pub(crate) const fn bytes(
        media_type: &'static str,
        headers: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            media_type,
            schema: |_| String::schema(),
            headers,
            parameters: &[],
        }
    }

    /// The same, with what a request says outside of its body.
    pub(crate) const fn with(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    /// As the document has it.
    pub(crate) fn described(&self, schemas: &mut Schemas) -> openapi::Content {
        let schema = (self.schema)(schemas);
        ContentBuilder::new().schema(Some(schema)).build()
    }
}

/// A reference to a type's schema, which is put among the others.
pub(crate) fn reference<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    T::schemas(schemas);
    let name = T::name();
    schemas.push((name.clone().into_owned(), T::schema()));
    Ref::from_schema_name(name).into()
}
