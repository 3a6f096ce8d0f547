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
        let mut rest = Rest::of(header);
        let value = rest.take_until(|b| b == b';');
        let mut pairs = Vec::new();
        while rest.take_one(b';') {
            let pair = parameter(&mut rest);
            if !pair.0.is_empty() {
                pairs.push(pair);
            }
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

/// What is left of a header value.
struct Rest<'a> {
    bytes: &'a [u8],
    /// The quotes in it, which are counted once, however often it is asked whether they come in pairs.
    quotes: usize,
}

impl<'a> Rest<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let quotes = bytes.iter().filter(|&&b| b == b'"').count();
        Self { bytes, quotes }
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, bytes) = self.bytes.split_at(length);
        self.quotes -= taken.iter().filter(|&&b| b == b'"').count();
        self.bytes = bytes;
        taken
    }

    /// Takes all before a byte of this kind, or all.
    fn take_until(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.bytes.iter().position(|&b| ends(b));
        self.take(end.unwrap_or(self.bytes.len()))
    }

    /// Takes this byte if it comes next.
    fn take_one(&mut self, byte: u8) -> bool {
        let comes = self.bytes.first() == Some(&byte);
        self.take(comes.into());
        comes
    }

    /// Whether a quoted string may end here: at the end, or before a parameter whose quotes
    /// come in pairs.
    fn closes(&self) -> bool {
        let next = self.bytes.trim_ascii_start().first();
        next.is_none() || (next == Some(&b';') && self.quotes.is_multiple_of(2))
    }
}

/// One parameter, of which all but the `;` behind it is taken.
fn parameter(rest: &mut Rest) -> (String, Vec<u8>) {
    let name = lower(rest.take_until(|b| b == b'=' || b == b';'));
    if !rest.take_one(b'=') {
        return (name, Vec::new());
    }
    let blanks = rest.bytes.len() - rest.bytes.trim_ascii_start().len();
    if rest.bytes.get(blanks) == Some(&b'"') {
        rest.take(blanks + 1);
        let value = quoted_string(rest);
        rest.take_until(|b| b == b';');
        return (name, value);
    }
    let value = rest.take_until(|b| b == b';');
    (name, value.trim_ascii().to_vec())
}

/// The inside of a quoted string, which is taken with its closing quote.
///
/// `\"` and `\\` are escapes and any other backslash is itself, since browsers write
/// the backslashes of a Windows path bare. A `\"` that can only be a name's last
/// backslash and the closing quote, because a parameter or nothing follows, is taken
/// for that. Without a closing quote the string goes on to the end.
fn quoted_string(rest: &mut Rest) -> Vec<u8> {
    let mut value = Vec::new();
    loop {
        value.extend_from_slice(rest.take_until(|b| b == b'"' || b == b'\\'));
        if rest.take_one(b'"') || rest.bytes.is_empty() {
            return value;
        }
        rest.take(1);
        match rest.bytes.first() {
            Some(b'"') => {
                rest.take(1);
                if rest.closes() {
                    value.push(b'\\');
                    return value;
                }
                value.push(b'"');
            }
            Some(b'\\') => value.extend_from_slice(rest.take(1)),
            _ => value.push(b'\\'),
        }
    }
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

    /// That each `\";` is not a look at all that follows cannot be seen here; that the count which
    /// is kept instead is right can.
    #[test]
    fn quotes_are_counted_as_they_are_passed() {
        let header = br#"x; a=" \";"; b = "\\" ;c=\"; d="\" ; e="""#;
        let mut rest = Rest::of(header);
        while !rest.bytes.is_empty() {
            rest.take_until(|b| b == b';');
            assert_eq!(rest.quotes, Rest::of(rest.bytes).quotes);
            rest.take_one(b';');
            parameter(&mut rest);
            assert_eq!(rest.quotes, Rest::of(rest.bytes).quotes);
        }
        let many = [b"x; a=\"".as_slice(), &b"\\\"; ".repeat(20_000)].concat();
        let parsed = Parameters::parse(&many);
        assert_eq!(parsed.get("a"), Some(br#""; \"#.as_slice()));
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
