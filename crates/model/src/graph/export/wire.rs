//! Protobuf's wire format, read: a message is a list of numbered fields.

use super::super::onnx::Message;

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
}

/// The value of a field, as far as the wire format tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message in order. `None` if the bytes are not a message; nothing follows
/// it.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = Option<Field<'_>>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Value::Varint(varint(rest)?),
        1 => Value::Fixed64(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(take(rest, length)?)
        }
        5 => Value::Fixed32(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?)),
        _ => return None,
    };
    let number = u32::try_from(tag >> 3).ok().filter(|&number| number > 0)?;
    Some(Field { number, value })
}

/// The numbers of a packed list.
pub(super) fn varints(mut packed: &[u8]) -> impl Iterator<Item = Option<u64>> {
    std::iter::from_fn(move || {
        if packed.is_empty() {
            return None;
        }
        let number = varint(&mut packed);
        if number.is_none() {
            packed = &[];
        }
        Some(number)
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

impl Field<'_> {
    /// Writes it exactly as it was read.
    pub fn write(&self, message: &mut Message) {
        match self.value {
            Value::Varint(value) => message.int(self.number, value as i64),
            Value::Fixed64(value) => message.fixed64(self.number, value),
            Value::Bytes(bytes) => message.bytes(self.number, bytes),
            Value::Fixed32(value) => message.fixed32(self.number, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_again() {
        let mut message = Message::default();
        message.int(1, -2);
        message.string(16, "testing");
        message.fixed32(3, 7);
        message.fixed64(4, u64::MAX);
        message.bytes(5, &[0; 300]);
        let read: Vec<Field<'_>> = fields(&message.0).map(Option::unwrap).collect();
        assert_eq!(read.len(), 5);
        assert_eq!(read[0].value, Value::Varint(u64::MAX - 1));
        assert_eq!(
            read[1],
            Field {
                number: 16,
                value: Value::Bytes(b"testing")
            }
        );
        let mut again = Message::default();
        read.iter().for_each(|field| field.write(&mut again));
        assert_eq!(again.0, message.0);
        let packed: Vec<_> = varints(&[150, 1, 3]).collect();
        assert_eq!(packed, [Some(150), Some(3)]);
        assert_eq!(varints(&[150]).collect::<Vec<_>>(), [None]);
    }
}
