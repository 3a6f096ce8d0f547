//! Header values of the form `value; name=value; name="value"`.
//!
//! Two headers are read with this: Content-Type, for the boundary, and the
//! Content-Disposition of a part, for its names. It is done here and not by multer
//! because clients write file names in every way there is, and a name that is
//! misread comes back wrong in `/rank`.

/// A header value in its parts: what stands before the first `;`, in lower case, and
/// the parameters, their names in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// What stands before the first `;`, in lower case.
    pub(crate) value: String,
    pairs: Vec<(String, Vec<u8>)>,
}

impl Parameters {
    /// Reads a header value; whatever its bytes are, something is read.
    pub(crate) fn parse(header: &[u8]) -> Self {
        let end = header
            .iter()
            .position(|&b| b == b';')
            .unwrap_or(header.len());
        let (value, mut rest) = header.split_at(end);
        let mut pairs = Vec::new();
        while let Some(tail) = rest.strip_prefix(b";") {
            let (pair, after) = parameter(tail);
            if !pair.0.is_empty() {
                pairs.push(pair);
            }
            rest = after;
        }
        Self {
            value: lower(value),
            pairs,
        }
    }

    /// A parameter's value; the first of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.pairs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
    }

    /// A parameter as text: `name*` (RFC 5987) if it is there and can be read, else
    /// `name`, as UTF-8 or, where it is none, as Latin-1.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(&format!("{name}*"))
            .and_then(extended)
            .or_else(|| self.get(name).map(text))
    }
}

/// Bytes as UTF-8 or, where they are none, as Latin-1, which anything is.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let mut text = String::with_capacity(text_bytes(bytes));
            text.extend(bytes.iter().map(|&byte| char::from(byte)));
            text
        }
    }
}

/// The bytes that [`text`] makes of these, at most: Latin-1 beyond ASCII takes two.
pub(crate) fn text_bytes(bytes: &[u8]) -> usize {
    bytes.len() + bytes.iter().filter(|byte| !byte.is_ascii()).count()
}

/// The bytes that the names and values of an urlencoded form take, at most: each byte of
/// theirs that is not UTF-8 becomes the three of U+FFFD.
pub(crate) fn decoded_bytes(form: &[u8]) -> usize {
    let escapes = form.windows(2).filter(|pair| {
        pair[0] == b'%' && matches!(pair[1], b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F')
    });
    let beyond = form.iter().filter(|byte| !byte.is_ascii()).count();
    form.len() + 2 * beyond + escapes.count()
}

fn lower(bytes: &[u8]) -> String {
    text(bytes.trim_ascii()).to_ascii_lowercase()
}

/// One parameter, and the rest from its closing `;` on.
fn parameter(input: &[u8]) -> ((String, Vec<u8>), &[u8]) {
    let end = input
        .iter()
        .position(|&b| b == b'=' || b == b';')
        .unwrap_or(input.len());
    let (name, rest) = input.split_at(end);
    let name = lower(name);
    let Some(value) = rest.strip_prefix(b"=") else {
        return ((name, Vec::new()), rest);
    };
    if let Some(quoted) = value.trim_ascii_start().strip_prefix(b"\"") {
        let (value, rest) = quoted_string(quoted);
        return ((name, value), rest);
    }
    let end = value.iter().position(|&b| b == b';').unwrap_or(value.len());
    let (value, rest) = value.split_at(end);
    ((name, value.trim_ascii().to_vec()), rest)
}

/// The inside of a quoted string, and the rest from the next `;` on.
///
/// `\"` and `\\` are escapes and any other backslash is itself, since browsers write
/// the backslashes of a Windows path bare. A `\"` that can only be a name's last
/// backslash and the closing quote, because a parameter or nothing follows, is taken
/// for that. Without a closing quote the string goes on to the end.
fn quoted_string(input: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        at += 1;
        match (byte, input.get(at)) {
            (b'"', _) => return (value, next_parameter(input, at)),
            (b'\\', Some(b'"')) if closes(&input[at + 1..]) => {
                value.push(b'\\');
                return (value, next_parameter(input, at + 1));
            }
            (b'\\', Some(&escaped @ (b'"' | b'\\'))) => {
                value.push(escaped);
                at += 1;
            }
            _ => value.push(byte),
        }
    }
    (value, &[])
}

fn next_parameter(input: &[u8], at: usize) -> &[u8] {
    let rest = &input[at..];
    let start = rest.iter().position(|&b| b == b';').unwrap_or(rest.len());
    &rest[start..]
}

/// Whether a quoted string may end before this: at the end, or before a parameter
/// whose quotes come in pairs.
fn closes(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii_start();
    rest.is_empty()
        || (rest.starts_with(b";") && rest.iter().filter(|&&b| b == b'"').count() % 2 == 0)
}

/// `charset'language'percent-encoded`, where the charset is UTF-8 or Latin-1.
fn extended(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |&b| b == b'\'');
    let charset = lower(parts.next()?);
    let _language = parts.next()?;
    let bytes = percent_decoded(parts.next()?)?;
    match charset.as_str() {
        "utf-8" | "utf8" | "" => String::from_utf8(bytes).ok(),
        "iso-8859-1" | "latin-1" | "latin1" => Some(bytes.into_iter().map(char::from).collect()),
        _ => None,
    }
}

/// A piece of a path with its escapes undone; as it is where one is broken.
pub(crate) fn path_text(piece: &str) -> String {
    percent_decoded(piece.as_bytes()).map_or_else(|| piece.to_owned(), |bytes| text(&bytes))
}

fn percent_decoded(input: &[u8]) -> Option<Vec<u8>> {
    let digit = |at: usize| input.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut bytes = Vec::with_capacity(input.len());
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        if byte == b'%' {
            bytes.push(u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()?);
            at += 3;
        } else {
            bytes.push(byte);
            at += 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filename(parameters: &[u8]) -> Option<String> {
        let header = [b"form-data; name=\"file\"; ".as_slice(), parameters].concat();
        let parsed = Parameters::parse(&header);
        assert_eq!(parsed.value, "form-data");
        assert_eq!(
            parsed.text("name").as_deref(),
            Some("file"),
            "{}",
            text(&header)
        );
        parsed.text("filename")
    }

    #[test]
    fn file_names_in_odd_forms() {
        let cases: [(&[u8], &str); 24] = [
            (b"filename=\"a.jpg\"", "a.jpg"),
            (b"filename=\"a;b.jpg\"", "a;b.jpg"),
            (b"filename=\"a; name=x; b.jpg\"", "a; name=x; b.jpg"),
            (b"filename=\"a\\\"b.jpg\"", "a\"b.jpg"),
            (b"filename=\"a\\\";b.jpg\"", "a\";b.jpg"),
            (b"filename=\"a\\\\\"", "a\\"),
            (b"filename=\"a.jpg\\\"", "a.jpg\\"),
            (b"filename=\"a.jpg\\\"; x=\"y\"", "a.jpg\\"),
            (b"filename=\"C:\\dir\\a.jpg\"", "C:\\dir\\a.jpg"),
            (b"filename=\"\"", ""),
            (b"filename=", ""),
            (b"filename", ""),
            (b"filename=a.jpg", "a.jpg"),
            (b"filename=a b.jpg ; x=y", "a b.jpg"),
            (b"FileName = \"sp.jpg\"", "sp.jpg"),
            (b"filename=\"un.jpg", "un.jpg"),
            (b"filename=\"a%22b.jpg\"", "a%22b.jpg"),
            (b"filename=\"\xe4.jpg\"", "\u{e4}.jpg"),
            ("filename=\"你好.jpg\"".as_bytes(), "你好.jpg"),
            (b"filename*=UTF-8''%e4%bd%a0.jpg", "你.jpg"),
            (
                b"filename=\"x.jpg\"; filename*=UTF-8''%E4%BD%A0.jpg",
                "你.jpg",
            ),
            (
                b"filename*=utf-8'en'%e4%bd%a0.jpg; filename=\"x.jpg\"",
                "你.jpg",
            ),
            (b"filename*=iso-8859-1''%e4.jpg", "\u{e4}.jpg"),
            (b"filename*=UTF-8''%e4%zz.jpg; filename=\"x.jpg\"", "x.jpg"),
        ];
        for (written, expected) in cases {
            assert_eq!(
                filename(written).as_deref(),
                Some(expected),
                "{}",
                text(written)
            );
        }
        assert_eq!(filename(b"x=y"), None);
        assert_eq!(filename(b"xfilename=\"a\""), None);
        assert_eq!(filename(b";;; ;"), None);
    }

    #[test]
    fn a_name_in_the_filename_is_not_the_name() {
        let parsed = Parameters::parse(b"form-data; filename=\"name=files\"; name=\"other\"");
        assert_eq!(parsed.text("name").as_deref(), Some("other"));
    }

    #[test]
    fn content_types() {
        let parsed =
            Parameters::parse(b"Multipart/Form-Data; charset=utf-8; Boundary=\"a b;c\"; foo=bar");
        assert_eq!(parsed.value, "multipart/form-data");
        assert_eq!(parsed.get("boundary"), Some(b"a b;c".as_slice()));
        assert_eq!(Parameters::parse(b"").value, "");
    }

    #[test]
    fn any_bytes_are_read_to_their_end() {
        for a in [b';', b'"', b'\\', b'=', b'\'', b'%', b'*', b' ', 0xff] {
            for b in [b';', b'"', b'\\', b'=', b'\'', b'%', b'*', b' ', 0xff] {
                for c in [b';', b'"', b'\\', b'=', b'\'', b'%', b'*', b' ', 0xff] {
                    let header = [b'x', b';', a, b, c, a, b'"', c, b];
                    let parsed = Parameters::parse(&header);
                    let _ = parsed.text("filename");
                }
            }
        }
    }
}
