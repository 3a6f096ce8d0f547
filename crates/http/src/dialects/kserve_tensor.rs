//! A tensor that a client sends in KServe's protocol: byte strings, in the JSON or after it.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::answer::problem::{Problem, printable};
use crate::request::item_reader::Place;
use crate::request::json::{self, Kind, wrong};

/// The parameter of a tensor that is not in the body but in memory of the machine.
pub(super) const SHARED_MEMORY: &str = "shared_memory_region";

/// Refuses such a tensor: its client is not known to be on this machine.
pub(super) fn no_shared_memory(place: Place, region: Option<&RawValue>) -> Result<(), Problem> {
    match region {
        None => Ok(()),
        Some(_) => Err(wrong(format!(
            "{place} is in shared memory, which this service does not read or write; send it in the body."
        ))),
    }
}

/// The most dimensions that a shape may have, and the deepest that lists may be nested.
const MAX_RANK: usize = 8;

/// A tensor of strings.
pub(super) struct Tensor<'a> {
    /// Its name.
    pub(super) name: Cow<'a, str>,
    /// The number of elements that its shape implies.
    pub(super) count: usize,
    place: Place,
    data: Data<'a>,
}

enum Data<'a> {
    Json(&'a RawValue),
    /// Each element is its length in four bytes, little-endian, and then its bytes.
    Binary(Bytes),
}

/// One element.
pub(super) enum Element<'a> {
    /// A string of JSON.
    Json(&'a RawValue),
    /// Raw bytes.
    Bytes(Bytes),
}

impl<'a> Tensor<'a> {
    /// Reads a tensor, and takes its part of the bytes after the JSON.
    pub(super) fn read(
        place: Place,
        raw: &'a RawValue,
        binary: &mut Bytes,
    ) -> Result<Self, Problem> {
        let names = ["name", "datatype", "shape", "parameters", "data"];
        let [name, datatype, shape, parameters, data] = json::fields(place, raw, names)?;
        let missing = |field: &str| wrong(format!("{place} has no {field}."));
        let name = json::text(place, name.ok_or_else(|| missing("name"))?)?;
        let datatype = datatype.ok_or_else(|| missing("datatype"))?;
        let datatype = json::text(format!("{place}.datatype"), datatype)?;
        if datatype != "BYTES" {
            let shown = printable(&datatype, 40);
            return Err(wrong(format!(
                "{place} has the datatype {shown}; it must be BYTES."
            )));
        }
        let mut count = 1_u64;
        let field = format!("{place}.shape");
        for raw in json::list(&field, shape.ok_or_else(|| missing("shape"))?, MAX_RANK)? {
            let side = json::count(&field, Some(raw))?.unwrap_or(0);
            count = count
                .checked_mul(side)
                .ok_or_else(|| Problem::TooLarge(format!("{field} has too many elements.")))?;
        }
        let size = match parameters {
            Some(raw) => {
                let field = format!("{place}.parameters");
                let names = ["binary_data_size", SHARED_MEMORY];
                let [size, region] = json::fields(&field, raw, names)?;
                no_shared_memory(place, region)?;
                json::count(format!("{field}.binary_data_size"), size)?
            }
            None => None,
        };
        let data = match (size, data) {
            (Some(size), None) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > binary.len() {
                    return Err(wrong(format!(
                        "{place} has a binary_data_size of {size}, but only {} bytes are left after the JSON.",
                        binary.len()
                    )));
                }
                Data::Binary(binary.split_to(size))
            }
            (None, Some(data)) => Data::Json(data),
            (Some(_), Some(_)) => {
                return Err(wrong(format!(
                    "{place} has both data and binary_data_size."
                )));
            }
            (None, None) => return Err(missing("data")),
        };
        Ok(Self {
            name,
            count: usize::try_from(count).unwrap_or(usize::MAX),
            place,
            data,
        })
    }

    /// Its elements. Their number must be that of the shape, and at most `most`.
    pub(super) fn elements(&self, most: usize) -> Result<Vec<Element<'a>>, Problem> {
        let Self { place, count, .. } = self;
        if *count > most {
            return Err(Problem::TooLarge(format!(
                "{place} has {count} elements; a request may have {most}."
            )));
        }
        let mut elements = Vec::new();
        match &self.data {
            Data::Json(raw) => self.flatten(raw, 0, most, &mut elements)?,
            Data::Binary(bytes) => {
                let mut rest = bytes.clone();
                while !rest.is_empty() && elements.len() <= *count {
                    let length = rest.split_first_chunk::<4>();
                    let (length, after) = length.ok_or_else(|| self.broken())?;
                    let length = u32::from_le_bytes(*length) as usize;
                    if length > after.len() {
                        return Err(self.broken());
                    }
                    let _ = rest.split_to(4);
                    elements.push(Element::Bytes(rest.split_to(length)));
                }
            }
        }
        if elements.len() == *count {
            return Ok(elements);
        }
        Err(wrong(format!(
            "{place} does not have the {count} elements that its shape says."
        )))
    }

    fn flatten(
        &self,
        raw: &'a RawValue,
        depth: usize,
        most: usize,
        elements: &mut Vec<Element<'a>>,
    ) -> Result<(), Problem> {
        for raw in json::list(format!("{}.data", self.place), raw, most)? {
            if elements.len() > self.count {
                return Ok(());
            }
            match json::kind(raw) {
                Kind::List if depth < MAX_RANK => self.flatten(raw, depth + 1, most, elements)?,
                _ => elements.push(Element::Json(raw)),
            }
        }
        Ok(())
    }

    fn broken(&self) -> Problem {
        wrong(format!(
            "{}: its binary data must be elements, each with its length in four bytes before it.",
            self.place
        ))
    }
}
