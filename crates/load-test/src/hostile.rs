//! Requests as broken clients and attackers send them. Each must be refused, or its
//! connection closed; none may be answered 5xx, and none may hurt the others.

use bytes::Bytes;

use crate::check::Expected;
use crate::inputs::{BOUNDARY, Form, Request};
use crate::mix::Endpoint;
use crate::pictures::Picture;
use crate::random::Random;

/// One of the kinds. `picture` is an image that would be fine.
pub fn request(random: &mut Random, picture: Option<&Picture>) -> Request {
    let form = format!("multipart/form-data; boundary={BOUNDARY}");
    let json = "application/json".to_owned();
    let (path, content_type, body, cut): (_, _, Bytes, _) = match random.below(6) {
        0 => {
            let whole = image(picture.map_or(b"", |p| &p.bytes));
            let kept = whole.len() / 2;
            (Endpoint::Image.path(), form, whole.slice(..kept), false)
        }
        1 => (
            Endpoint::Text.path(),
            "text/plain".to_owned(),
            Bytes::from_static(br#"{"texts": ["a red circle"]}"#),
            false,
        ),
        2 => (
            Endpoint::Text.path(),
            json,
            Bytes::from_static(br#"{"texts": ["a red circle", "#),
            false,
        ),
        3 => {
            let noise: Vec<u8> = (0..512).flat_map(|_| random.next().to_le_bytes()).collect();
            (Endpoint::Image.path(), form, image(&noise), false)
        }
        4 => (Endpoint::Image.path(), form, image(&huge_png()), false),
        _ => (
            Endpoint::Image.path(),
            form,
            image(picture.map_or(b"", |p| &p.bytes)),
            true,
        ),
    };
    Request {
        endpoint: Endpoint::Hostile,
        path,
        content_type,
        body,
        images: 0,
        texts: 0,
        expected: Expected::Refusal,
        cut,
    }
}

fn image(bytes: &[u8]) -> Bytes {
    let picture = Picture {
        name: "hostile.png".to_owned(),
        content_type: "image/png",
        bytes: Bytes::copy_from_slice(bytes),
    };
    let mut form = Form::default();
    form.pictures("file", &[(&picture, None)]);
    form.finish()
}

/// A few bytes that claim 65535 by 65535 pixels: 12 GiB for who believes them.
fn huge_png() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = crc32fast::Hasher::new();
        crc.update(kind);
        crc.update(data);
        file.extend_from_slice(&(data.len() as u32).to_be_bytes());
        file.extend_from_slice(kind);
        file.extend_from_slice(data);
        file.extend_from_slice(&crc.finalize().to_be_bytes());
    };
    chunk(b"IHDR", &[0, 0, 255, 255, 0, 0, 255, 255, 8, 2, 0, 0, 0]);
    chunk(b"IDAT", b"\x78\x9c\x03\x00\x00\x00\x00\x01");
    chunk(b"IEND", b"");
    file
}
