//! The forms in which a row is written: numbers, bytes in base64, or quantized. docs/vectors.md says
//! how much each form preserves, and how to compare rows in it.

use std::fmt;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::answer::FLOAT_BYTES;
use crate::answer::json_writer::Numbers;
use crate::answer::quantized::{bits, int8};

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Numbers, in the shortest form that reads back as the same f32.
    Float,
    /// The f32 in little-endian order, as base64.
    Base64,
    /// `round(127 * x / max|x|)`, -127 to 127.
    Int8,
    /// The same plus 128, 1 to 255.
    Uint8,
    /// A bit for each value, 1 where it is above 0, eight in a byte, the first one highest;
    /// the byte minus 128.
    Binary,
    /// The same, without the 128 taken off.
    Ubinary,
}

/// The forms by their names.
pub(super) const FORMS: [(&str, Form); 6] = [
    ("float", Form::Float),
    ("base64", Form::Base64),
    ("int8", Form::Int8),
    ("uint8", Form::Uint8),
    ("binary", Form::Binary),
    ("ubinary", Form::Ubinary),
];

impl Form {
    /// The most bytes that a value takes in an answer, not counting the quotes and commas of its row.
    pub(super) fn bytes(self) -> usize {
        match self {
            Form::Float => FLOAT_BYTES,
            Form::Base64 => 6,
            Form::Int8 | Form::Uint8 => 5,
            Form::Binary | Form::Ubinary => 1,
        }
    }
}

/// A row and the form to write it in.
pub(super) struct Row<'a> {
    /// Its values, which are numbers.
    pub(super) values: &'a [f32],
    /// How.
    pub(super) form: Form,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.form {
            Form::Float => Numbers(self.values).serialize(serializer),
            Form::Base64 => {
                let bytes: Vec<u8> = self.values.iter().flat_map(|x| x.to_le_bytes()).collect();
                serializer.collect_str(&Base64Display::new(&bytes, &STANDARD))
            }
            Form::Int8 => serializer.collect_seq(int8(self.values)),
            Form::Uint8 => {
                serializer.collect_seq(int8(self.values).map(|x| (i16::from(x) + 128) as u8))
            }
            Form::Binary => {
                serializer.collect_seq(bits(self.values).map(|x| (i16::from(x) - 128) as i8))
            }
            Form::Ubinary => serializer.collect_seq(bits(self.values)),
        }
    }
}

/// A row in one of the forms.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = Vector)]
#[allow(dead_code, reason = "it is only described")]
pub(super) enum Vector {
    /// Numbers.
    Numbers(Vec<f32>),
    /// Little-endian f32 as base64.
    Text(String),
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = FORMS.iter().find(|(_, form)| form == self);
        f.write_str(named.map_or("", |(name, _)| *name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::json_writer;

    fn written(values: &[f32], form: Form) -> String {
        let json = json_writer::to_vec(&Row { values, form }, 0).unwrap();
        String::from_utf8(json).unwrap()
    }

    /// The expected bytes are those of numpy: `x.astype("<f4").tobytes()`,
    /// `np.packbits(x > 0)`, and the latter minus 128.
    #[test]
    fn every_form_is_as_documented() {
        let row = [0.5, -1.0, 0.0, 0.25, 1e-9, -0.0, 0.1, 0.2, 0.3, -0.3];
        assert_eq!(written(&row[..2], Form::Float), "[0.5,-1.0]");
        assert_eq!(written(&row[..2], Form::Base64), "\"AAAAPwAAgL8=\"");
        assert_eq!(written(&row, Form::Int8), "[64,-127,0,32,0,0,13,25,38,-38]");
        assert_eq!(
            written(&row, Form::Uint8),
            "[192,1,128,160,128,128,141,153,166,90]"
        );
        assert_eq!(written(&row, Form::Ubinary), "[155,128]");
        assert_eq!(written(&row, Form::Binary), "[27,0]");
        assert_eq!(written(&[0.0, 0.0], Form::Int8), "[0,0]");
        assert_eq!(written(&[], Form::Base64), "\"\"");
    }

    #[test]
    fn a_form_takes_no_more_than_it_says() {
        let row: Vec<f32> = (0..64).map(|at| -1.234_567_9e-6 * at as f32).collect();
        for (_, form) in FORMS {
            let length = written(&row, form).len();
            assert!(length <= form.bytes() * row.len() + 8, "{form}: {length}");
        }
    }
}
