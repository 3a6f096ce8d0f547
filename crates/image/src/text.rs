//! Lines of text, as Pillow reads them from the formats that are written in words.

/// What Python takes for white space.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

/// A line without the white space at its end.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&byte| !is_space(byte));
    line.get(..end.map_or(0, |end| end + 1)).unwrap_or_default()
}

/// Takes a line off `rest`, with its end.
pub(super) fn line<'a>(rest: &mut &'a [u8], most: usize) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let head = &rest[..rest.len().min(most)];
    let end = head.iter().position(|&byte| byte == b'\n');
    let (line, behind) = rest.split_at(end.map_or(head.len(), |end| end + 1));
    *rest = behind;
    Some(line)
}

/// A number of digits alone.
pub(super) fn number(word: &[u8]) -> Option<u32> {
    let digits = word.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(word.get(..).filter(|_| digits)?)
        .ok()?
        .parse()
        .ok()
}
