//! Forms as clients send them.

/// A multipart form under construction.
pub(crate) struct Form(Vec<u8>);

/// Separates the parts. It occurs in none of this kit's texts and pictures.
const BOUNDARY: &str = "siglip2-conformance-4d7a1c0be95f4e26";

impl Form {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.part(
            &format!("name=\"{name}\""),
            "text/plain; charset=utf-8",
            value.as_bytes(),
        )
    }

    pub(crate) fn file(self, name: &str, file: &str, media_type: &str, bytes: &[u8]) -> Self {
        let head = format!("name=\"{name}\"; filename=\"{file}\"");
        self.part(&head, media_type, bytes)
    }

    fn part(mut self, head: &str, media_type: &str, bytes: &[u8]) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\nContent-Type: \
             {media_type}\r\n\r\n"
        );
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// The content type and the body.
    pub(crate) fn end(mut self) -> (String, Vec<u8>) {
        self.0
            .extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={BOUNDARY}"), self.0)
    }
}
