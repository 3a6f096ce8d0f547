//! The description of the endpoints that clients are generated from, as FastAPI
//! served it: OpenAPI 3.1, the same paths, the same schemas of what is sent.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// The description; always the same one.
pub(super) fn description() -> &'static Value {
    static DESCRIPTION: LazyLock<Value> = LazyLock::new(build);
    &DESCRIPTION
}

fn build() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "SigLIP2 Embeddings",
            "description": "Images and texts as vectors of one space.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": {
            "/health": { "get": get("health", "Whether the service can embed", "Health") },
            "/ready": { "get": get("ready", "Whether a fixed image and text are embedded as at the start", "Ready") },
            "/info": { "get": get("info", "The model and the limits in force", "Info") },
            "/embed/text": { "post": post(
                "embed_text", "One embedding per text", "application/json", "TextRequest", "Embeddings",
            ) },
            "/embed/image": { "post": form("embed_image", "The embedding of one image", "Embeddings") },
            "/embed/images": { "post": form("embed_images", "One embedding per image", "Embeddings") },
            "/similarity": { "post": form("similarity", "How well every text fits every image", "Similarity") },
            "/rank": { "post": form("rank", "The images, the one that fits the query best first", "Rankings") },
        },
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
            },
        },
    })
}

fn get(id: &str, summary: &str, answer: &str) -> Value {
    let mut responses = json!({ "200": content("Successful Response", answer) });
    if matches!(id, "health" | "ready") {
        responses["503"] = content("It cannot embed; status says why", answer);
    } else {
        responses["401"] = content("The API key is missing or wrong", "Error");
    }
    json!({ "summary": summary, "operationId": id, "responses": responses })
}

fn form(id: &str, summary: &str, answer: &str) -> Value {
    post(
        id,
        summary,
        "multipart/form-data",
        &format!("Body_{id}"),
        answer,
    )
}

fn post(id: &str, summary: &str, content_type: &str, body: &str, answer: &str) -> Value {
    let mut responses = json!({
        "200": content("Successful Response", answer),
        "422": content("Validation Error", "HTTPValidationError"),
    });
    for (status, description) in [
        ("400", "The body or an image in it is broken"),
        ("401", "The API key is missing or wrong"),
        ("408", "The body did not arrive in time"),
        ("413", "Too many bytes, images, texts or pixels"),
        ("415", "A content type or an image format that is not read"),
        (
            "429",
            "The queue is full; Retry-After says when to try again",
        ),
        ("500", "Our fault; the id is in the log"),
        ("503", "The service cannot embed at the moment"),
        ("504", "The request was not answered in time"),
    ] {
        responses[status] = content(description, "Error");
    }
    json!({
        "summary": summary,
        "operationId": id,
        "requestBody": {
            "required": true,
            "content": { content_type: { "schema": reference(body) } },
        },
        "responses": responses,
        "security": [{}, { "bearer": [] }, { "apiKey": [] }],
    })
}

fn content(description: &str, schema: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/json": { "schema": reference(schema) } },
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn schemas() -> Value {
    let file = json!({ "type": "string", "contentMediaType": "application/octet-stream" });
    let files = json!({ "type": "array", "items": file });
    let normalize = json!({ "type": "boolean", "default": true });
    let text = json!({ "type": "string" });
    let number = json!({ "type": "integer" });
    let matrix =
        json!({ "type": "array", "items": { "type": "array", "items": { "type": "number" } } });
    json!({
        "TextRequest": object(&["texts"], json!({
            "texts": { "type": "array", "items": text }, "normalize": normalize,
        })),
        "Body_embed_image": object(&[], json!({
            "file": file,
            "image_base64": { "type": "string", "description": "Base64, or a data URI with it" },
            "normalize": normalize,
        })),
        "Body_embed_images": object(&["files"], json!({ "files": files, "normalize": normalize })),
        "Body_similarity": object(&["files", "texts"], json!({
            "files": files,
            "texts": { "type": "string", "description": "A JSON array of strings" },
        })),
        "Body_rank": object(&["files", "query"], json!({ "files": files, "query": text })),
        "Health": object(&["status", "model", "device", "dimensions"], json!({
            "status": { "type": "string", "enum": ["ok", "starting", "draining", "restarting", "failed"] },
            "model": text, "device": text, "dimensions": number,
        })),
        "Ready": object(&["status"], json!({ "status": text, "detail": text })),
        "Info": object(
            &["model", "device", "text_dim", "vision_dim", "image_size", "cross_modal", "description"],
            json!({
                "model": text, "device": text, "text_dim": number, "vision_dim": number,
                "image_size": number, "cross_modal": { "type": "boolean" }, "description": text,
                "engine": text, "precision": text, "cosine_to_fp32": { "type": ["number", "null"] }, "max_batch": number, "text_tokens": number,
                "version": text, "limits": { "type": "object" },
            }),
        ),
        "Embeddings": object(&["embeddings", "dimensions", "model"], json!({
            "embeddings": matrix, "dimensions": number, "model": text,
        })),
        "Similarity": object(&["similarities", "text_embeddings", "image_embeddings", "note"], json!({
            "similarities": matrix, "text_embeddings": matrix, "image_embeddings": matrix, "note": text,
        })),
        "Rankings": object(&["query", "rankings"], json!({
            "query": text,
            "rankings": { "type": "array", "items": object(&["filename", "score", "rank"], json!({
                "filename": text, "score": { "type": "number" }, "rank": number,
            })) },
        })),
        "Error": object(&["detail"], json!({ "detail": text, "id": text })),
        "HTTPValidationError": object(&[], json!({
            "detail": { "type": "array", "items": reference("ValidationError") },
        })),
        "ValidationError": object(&["loc", "msg", "type"], json!({
            "loc": { "type": "array", "items": { "anyOf": [text, number] } },
            "msg": text, "type": text, "input": {}, "ctx": { "type": "object" },
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let text = description().to_string();
        let schemas = &description()["components"]["schemas"];
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.get(name).is_some(), "{name}");
        }
        assert_eq!(description()["paths"].as_object().unwrap().len(), 8);
    }
}
