//! The description of the endpoints that clients are generated from, as FastAPI served it:
//! OpenAPI 3.1, made of the table of routes and of types.
//!
//! Forms, `/embed/text` and what the service's own paths answer are read into these types or written
//! out of them. Other JSON, that of the dialects above all, is read and written piece by piece, because
//! it has images in it or more than one shape: its types are only descriptions, which nothing but
//! tests and schemathesis (`tools/check-schema`) hold to what is read.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Components, ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Required,
    Response, ResponseBuilder, SecurityRequirement,
};

use crate::answer::error_shape::ErrorShape;
use crate::answer::validation::ValidationErrors;
use crate::call::TIMEOUT;
use crate::content::{self, ParameterKind, Schemas, reference};
use crate::header::request_id;
use crate::request::fingerprint::{EXPECT_FINGERPRINT, FINGERPRINT};
use crate::request::form::APPLY_ORIENTATION;
use crate::request::ignored;
use crate::request::model;
use crate::routes::route::{Class, Route};
use crate::routes::routes;

/// The document of all routes.
pub(crate) fn document() -> OpenApi {
    let mut schemas = Schemas::new();
    let mut paths = PathsBuilder::new();
    for route in routes() {
        let method = match route.is_read() {
            true => HttpMethod::Get,
            false => HttpMethod::Post,
        };
        let operation = operation(route, &mut schemas);
        paths = paths.path(route.path, PathItem::new(method, operation));
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("SigLIP 2 embeddings")
                .description(Some("Images and texts as vectors of one space."))
                .version(env!("CARGO_PKG_VERSION")),
        )
        .paths(paths)
        .components(Some(components(schemas)))
        .build()
}

fn components(schemas: Schemas) -> Components {
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
    ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("bearer", bearer)
        .security_scheme("apiKey", key)
        .build()
}

fn operation(route: &Route, schemas: &mut Schemas) -> OperationBuilder {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.name))
        .summary(Some(route.summary))
        .parameter(header(
            "X-Request-Id",
            "What the request is called in the answer and in the service's log",
            ObjectBuilder::new().schema_type(Type::String),
        ))
        .parameter(header(
            "traceparent",
            "The trace that the request belongs to (W3C Trace Context)",
            ObjectBuilder::new().schema_type(Type::String),
        ));
    if route.class.needs_key() {
        // None is asked for where the service has no key.
        operation = operation.securities(Some([
            SecurityRequirement::default(),
            SecurityRequirement::new("bearer", [""; 0]),
            SecurityRequirement::new("apiKey", [""; 0]),
        ]));
    }
    if route.class == Class::Work {
        operation = operation.parameter(header(
            TIMEOUT,
            "How long the client will wait, in milliseconds from the arrival of the head",
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1)),
        ));
    }
    operation = operation.parameter(header(
        model::HEADER,
        "Where several models are served, the name of one; the path may name it as well, as /models/NAME before that of any operation",
        ObjectBuilder::new().schema_type(Type::String),
    ));
    if route.class == Class::Work {
        operation = operation.parameter(header(
            EXPECT_FINGERPRINT,
            "The fingerprint of the vectors that the client has: where the service's have another, nothing is embedded",
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[0-9a-fA-F]{16}$")),
        ));
    }
    if route.class == Class::Work {
        // By default it is as the service is set, which the document cannot know.
        operation = operation.parameter(query(
            APPLY_ORIENTATION,
            "Whether images are turned as their orientation tag says; a field of that name in the body counts before it; by default as the service's --apply-orientation has it",
            None,
        ));
    }
    if let Some((_, name, _)) = route.parameter() {
        let name = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()));
        operation = operation.parameter(name.build());
    }
    let mut said: Vec<&str> = Vec::new();
    for parameter in route.takes.iter().flat_map(|takes| takes.parameters) {
        if !said.contains(&parameter.name) {
            said.push(parameter.name);
            operation = operation.parameter(outside_of_the_body(parameter));
        }
    }
    if !route.takes.is_empty() {
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for takes in route.takes {
            body = body.content(takes.media_type, takes.described(schemas));
        }
        operation = operation.request_body(Some(body.build()));
    }
    let mut well = ResponseBuilder::new().description("Successful Response");
    for gives in route.gives {
        well = well.content(gives.media_type, gives.described(schemas));
        for (name, says) in gives.headers {
            let schema = ObjectBuilder::new().schema_type(Type::String).build();
            let header = HeaderBuilder::new()
                .schema(Some(schema))
                .description(Some(*says));
            well = well.header(*name, header.build());
        }
    }
    let status = route.success();
    operation = operation.response(status.to_string(), with_headers(well, status, route.class));
    for status in route.refusals() {
        let content = match (status, route.class) {
            (422, _) if route.errors == ErrorShape::Detail => {
                reference::<ValidationErrors>(schemas)
            }
            // What the probes say while they are not well.
            (503, Class::Probe) if route.errors == ErrorShape::Detail => {
                (route.gives[0].schema)(schemas)
            }
            _ => route.errors.schema(schemas),
        };
        let content = ContentBuilder::new().schema(Some(content)).build();
        let refusal = ResponseBuilder::new()
            .description(meaning(status))
            .content("application/json", content);
        operation = operation.response(
            status.to_string(),
            with_headers(refusal, status, route.class),
        );
    }
    operation
}

fn outside_of_the_body(parameter: &content::Parameter) -> Parameter {
    let content::Parameter { name, says, kind } = *parameter;
    match kind {
        ParameterKind::Header => header(
            name,
            says,
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(0)),
        ),
        ParameterKind::Query(unsaid) => query(name, says, Some(unsaid)),
    }
}

/// A boolean in the query, and what it is where nothing is said.
fn query(name: &str, description: &str, unsaid: Option<bool>) -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .default(unsaid.map(Into::into));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .description(Some(description))
        .required(Required::False)
        .schema(Some(schema.build()))
        .build()
}

fn header(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .description(Some(description))
        .required(Required::False)
        .schema(Some(schema.build()))
        .build()
}

/// The headers of an answer with this status, besides those that belong to HTTP itself.
fn with_headers(mut response: ResponseBuilder, status: u16, class: Class) -> Response {
    let text = || SchemaType::from(Type::String);
    let mut add = |name: &str, description: &str, kind: SchemaType| {
        let schema = ObjectBuilder::new().schema_type(kind).build();
        let header = HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(description))
            .build();
        response = std::mem::take(&mut response).header(name, header);
    };
    add(
        request_id::HEADER.as_str(),
        "What the request is called in the service's log",
        text(),
    );
    add(
        "server-timing",
        "Milliseconds that the stages of the request took",
        text(),
    );
    add(
        ignored::HEADER.as_str(),
        "Parts of the request that are not read: fields of a form, parameters of the query",
        text(),
    );
    match status {
        200 if class == Class::Work => {
            add(
                "x-cache",
                "How many rows were remembered, shared with others, or computed; where clients may know",
                text(),
            );
            add(
                FINGERPRINT,
                "Which vector space the vectors are in, or the scores were computed in",
                text(),
            );
            add(
                "x-truncated-texts",
                "Where there are any: texts whose end was cut off, because they have more tokens than the model reads",
                Type::Integer.into(),
            );
        }
        415 => add(
            "accept-encoding",
            "Where the coding of the body is not supported: those that are",
            text(),
        ),
        401 => add("www-authenticate", "How the key is sent", text()),
        429 | 503 => add(
            "retry-after",
            "Seconds after which to try again",
            Type::Integer.into(),
        ),
        _ => {}
    }
    response.build()
}

/// What a status of a refusal means, in a line.
fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request, or an image in it, is broken; the detail says where",
        401 => "The API key is missing or wrong",
        404 => "There is no model of that name, or no index to search",
        408 => "The request did not arrive in time",
        412 => "X-Expect-Fingerprint names another vector space than this service's",
        413 => "Too many bytes, images, texts or pixels",
        414 => "The path is too long",
        415 => "A content type, a coding or an image format that is not supported",
        417 => "An expectation other than 100-continue",
        422 => "Validation Error",
        429 => "Too many requests or rows at once; Retry-After says when to try again",
        431 => "The headers are too large",
        500 => "A fault of the service; the id is in its log",
        503 => "The service cannot embed at the moment; Retry-After says when to try again",
        504 => "The deadline of the request passed before it was answered",
        _ => "Refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = serde_json::to_value(document()).unwrap();
        let text = document.to_string();
        let schemas = &document["components"]["schemas"];
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.get(name).is_some(), "{name}");
        }
        assert_eq!(document["openapi"], "3.1.0");
        let paths: std::collections::BTreeSet<&str> = routes().map(|route| route.path).collect();
        assert_eq!(document["paths"].as_object().unwrap().len(), paths.len());
    }

    #[test]
    fn what_stands_beside_a_body_is_told() {
        let document = serde_json::to_value(document()).unwrap();
        let named = |path: &str, name: &str, place: &str| {
            let parameters = &document["paths"][path]["post"]["parameters"];
            let mut parameters = parameters.as_array().unwrap().iter();
            parameters.any(|it| it["name"] == name && it["in"] == place)
        };
        for (path, name, place) in [
            ("/embed/image", "normalize", "query"),
            ("/embed/images", "normalize", "query"),
            ("/embed/images", "partial", "query"),
            (
                "/v2/models/{model}/infer",
                "inference-header-content-length",
                "header",
            ),
        ] {
            assert!(named(path, name, place), "{path} {name}");
        }
        assert!(!named("/embed/image", "partial", "query"));
    }

    #[test]
    fn every_status_that_is_described_has_its_meaning() {
        for route in routes() {
            for status in route.refusals() {
                assert_ne!(meaning(status), "Refused", "{status}");
            }
        }
    }

    #[test]
    fn bounds_of_what_is_sent_are_told() {
        let document = serde_json::to_value(document()).unwrap();
        let property = |schema: &str, name: &str| {
            document["components"]["schemas"][schema]["properties"][name].clone()
        };
        for form in ["Body_embed_images", "Body_similarity", "Body_rank"] {
            assert_eq!(property(form, "files")["minItems"], 1, "{form}");
        }
        assert_eq!(property("Body_rank", "query")["minLength"], 1);
        assert_eq!(property("Body_similarity", "texts")["minLength"], 2);
    }
}
