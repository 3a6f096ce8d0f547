//! Fax compression: rows of black and white pixels as their runs (ITU-T T.4, one-dimensional) or
//! as differences to the row above (T.4 two-dimensional, and T.6).
//!
//! Of a row whose runs are too long for the width, those that reach beyond it are left out; what runs
//! do not reach is white. So does libtiff. A code that does not exist is an error.
//!
//! T.4 wants an end-of-line code before each row, and some programs write none. As in libtiff, a strip
//! in which the next such code is missing is read again from its beginning as if it had none.

use std::io::BufRead;
use std::sync::OnceLock;

use super::fax_codes::{BLACK, BLACK_SIXTY_FOURS, Code, LONG, WHITE, WHITE_SIXTY_FOURS};
use super::packed::Packed;
use super::{damaged, truncated};
use crate::ImageError;

/// How rows are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Runs; each row begins at a whole byte (TIFF's compression 2).
    Modified,
    /// Rows behind end-of-line codes: runs, or, where the bit behind that code says so,
    /// differences (compression 3).
    Group3 {
        /// Whether there is such a bit.
        two_dimensional: bool,
    },
    /// Differences only (compression 4).
    Group4,
}

/// Bits of the longest code.
const LONGEST: u32 = 13;

/// By the next [`LONGEST`] bits: the length of a run and the bits of its code; 0 bits for what
/// is no code.
type Table = [(u16, u8); 1 << LONGEST];

/// The tables for white and for black runs.
fn tables() -> &'static [Box<Table>; 2] {
    static TABLES: OnceLock<[Box<Table>; 2]> = OnceLock::new();
    TABLES.get_or_init(|| [(WHITE, WHITE_SIXTY_FOURS), (BLACK, BLACK_SIXTY_FOURS)].map(table))
}

fn table((short, sixty_fours): ([Code; 64], [Code; 27])) -> Box<Table> {
    let mut table = Box::new([(0, 0); 1 << LONGEST]);
    let sixty_fours = (1..)
        .map(|nth: u16| nth * 64)
        .zip(sixty_fours.into_iter().chain(LONG));
    for (run, (bits, length)) in (0..).zip(short).chain(sixty_fours) {
        let free = LONGEST - u32::from(length);
        let from = usize::from(bits) << free;
        table[from..from + (1 << free)].fill((run, length));
    }
    table
}

/// Bits, the most significant of a byte first. Behind the end there are zeros.
struct Bits<'a> {
    packed: Packed<'a>,
    held: u64,
    count: u32,
    /// How many of them are behind the end.
    behind: u32,
    /// Whether any was looked for behind the end.
    ended: bool,
    /// Whether zeros behind the end may be taken for the rest of a code.
    filled_up: bool,
}

impl<'a> Bits<'a> {
    fn new(packed: Packed<'a>, filled_up: bool) -> Self {
        Self {
            packed,
            held: 0,
            count: 0,
            behind: 0,
            ended: false,
            filled_up,
        }
    }

    /// The next bits, at most 16, without taking them.
    fn peek(&mut self, bits: u32) -> Result<u32, ImageError> {
        while self.count < bits {
            let piece = self.packed.fill_buf().map_err(damaged)?;
            let byte = match piece.first() {
                Some(&byte) => {
                    self.packed.consume(1);
                    byte
                }
                None => {
                    self.behind += 8;
                    self.ended = true;
                    0
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
        Ok((self.held >> (self.count - bits)) as u32 & ((1 << bits) - 1))
    }

    /// Takes bits that were looked at.
    fn take(&mut self, bits: u32) -> Result<(), ImageError> {
        self.count -= bits;
        // Those behind the end are the last ones.
        if self.count < self.behind {
            if !self.filled_up {
                return Err(truncated());
            }
            self.behind = self.count;
        }
        Ok(())
    }

    /// How many there are before the end, of those that were looked at.
    fn left(&self) -> u32 {
        self.count.saturating_sub(self.behind)
    }

    /// Goes to the beginning of a byte.
    fn align(&mut self) {
        self.count -= self.count % 8;
    }
}

/// A strip or tile of rows of this width.
pub(super) struct Fax<'a> {
    bits: Bits<'a>,
    coding: Coding,
    width: usize,
    /// The packed bytes from their beginning, until it is known that there are no end-of-line codes.
    beginning: Option<Packed<'a>>,
    /// Where the colour changes in the row above: to black at the first, to white at the second, none
    /// beyond the width.
    above: Vec<usize>,
    /// The same of the row that is read.
    row: Vec<usize>,
}

impl<'a> Fax<'a> {
    pub(super) fn new(packed: Packed<'a>, coding: Coding, width: usize) -> Self {
        let begins_with_a_code = matches!(coding, Coding::Group3 { .. });
        Self {
            beginning: begins_with_a_code.then(|| packed.at_its_beginning()),
            bits: Bits::new(packed, false),
            coding,
            width,
            above: Vec::new(),
            row: Vec::new(),
        }
    }

    /// Bytes that it takes at most.
    pub(super) fn bytes(width: usize) -> u64 {
        // Two lists that double as they grow.
        2 * 2 * 8 * (most_changes(width) as u64 + 1)
    }

    /// Reads the next row into bits, of which black ones are 1.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<(), ImageError> {
        std::mem::swap(&mut self.above, &mut self.row);
        self.row.clear();
        match self.coding {
            Coding::Modified => {
                self.runs()?;
                self.bits.align();
            }
            Coding::Group3 { two_dimensional } => {
                if self.beginning.is_some()
                    && !self.end_of_line()?
                    && let Some(packed) = self.beginning.take()
                {
                    self.bits = Bits::new(packed, true);
                }
                let is_runs = !two_dimensional || self.bits.peek(1)? == 1;
                if two_dimensional {
                    self.bits.take(1)?;
                }
                match is_runs {
                    true => self.runs()?,
                    false => self.differences()?,
                }
            }
            Coding::Group4 => self.differences()?,
        }
        self.clean_up()?;
        out.fill(0);
        for black in self.row.chunks(2) {
            let end = black.get(1).copied().unwrap_or(self.width);
            blacken(out, black[0], end);
        }
        Ok(())
    }

    /// Passes everything up to and with the next end-of-line code: eleven zeros or more, and a one.
    /// False if there is none.
    fn end_of_line(&mut self) -> Result<bool, ImageError> {
        let mut zeros = self.bits.peek(11)? == 0;
        while !zeros || self.bits.peek(1)? == 0 {
            // Zeros behind the end are not of a code.
            if self.bits.left() == 0 {
                return Ok(false);
            }
            self.bits.take(1)?;
            zeros |= self.bits.peek(11)? == 0;
        }
        match self.bits.left() {
            0 => Ok(false),
            _ => self.bits.take(1).map(|()| true),
        }
    }

    /// Notes a change of colour.
    fn change(&mut self, at: usize) -> Result<(), ImageError> {
        if self.row.len() == most_changes(self.width) {
            return Err(damaged("one of its rows has more runs than pixels"));
        }
        self.row.push(at);
        Ok(())
    }

    /// Leaves out what reaches beyond the row, and fills up with white.
    fn clean_up(&mut self) -> Result<(), ImageError> {
        let mut cut = false;
        while self.row.last().is_some_and(|&at| at > self.width) {
            self.row.pop();
            cut = true;
        }
        if cut && self.row.len() % 2 == 1 {
            self.change(self.row.last().copied().unwrap_or(0))?;
        }
        Ok(())
    }

    /// A row that is coded as its runs.
    fn runs(&mut self) -> Result<(), ImageError> {
        let mut at = 0;
        let mut black = false;
        while at < self.width {
            let had_ended = self.bits.ended;
            // The row ends before its time: the rest is white.
            if matches!(self.coding, Coding::Group3 { .. }) && self.bits.peek(11)? == 0 {
                if self.beginning.is_none() {
                    match self.bits.left() {
                        // The last code was a whole one.
                        0 if !had_ended => return Err(truncated()),
                        // There is no code any more, and all rows that are lacking are white.
                        0..11 => {}
                        _ => self.bits.take(11)?,
                    }
                }
                if black {
                    self.change(at)?;
                }
                break;
            }
            at += self.run(black)?;
            self.change(at)?;
            black = !black;
        }
        Ok(())
    }

    /// The length of a run: as many times 64 as are needed, and the rest.
    fn run(&mut self, black: bool) -> Result<usize, ImageError> {
        let table = &tables()[usize::from(black)];
        let mut length = 0;
        loop {
            let (run, bits) = table[self.bits.peek(LONGEST)? as usize];
            if bits == 0 {
                return Err(no_code(&self.bits));
            }
            self.bits.take(bits.into())?;
            // One pixel beyond the row is as good as many.
            length = (length + usize::from(run)).min(self.width + 1);
            if run < 64 {
                return Ok(length);
            }
        }
    }

    /// A row that is coded as differences to the row above.
    fn differences(&mut self) -> Result<(), ImageError> {
        let mut at = 0;
        let mut black = false;
        // The change above that the next code may be about, which is not left of what is done.
        let mut nearest = 0;
        while at < self.width {
            // Of the colours that begin here, the next change above to the other one. A change in
            // the first column counts only at the beginning.
            while nearest > 0 && self.is_ahead(nearest - 1, at) {
                nearest -= 1;
            }
            while nearest < self.above.len()
                && (!self.is_ahead(nearest, at) || (nearest % 2 == 1) != black)
            {
                nearest += 1;
            }
            let change = |nth: usize| self.above.get(nth).copied().unwrap_or(self.width);
            let (first, second) = (change(nearest), change(nearest + 1));
            let shift = match self.mode()? {
                Mode::Pass => {
                    at = second;
                    continue;
                }
                Mode::Horizontal => {
                    for black in [black, !black] {
                        at += self.run(black)?;
                        self.change(at)?;
                    }
                    continue;
                }
                Mode::Vertical(shift) => shift,
            };
            let to = first.checked_add_signed(shift).filter(|&to| to >= at);
            at = to.ok_or_else(|| damaged("one of its runs has a negative length"))?;
            self.change(at)?;
            black = !black;
        }
        Ok(())
    }

    /// Whether a change above is right of a place.
    fn is_ahead(&self, nth: usize, at: usize) -> bool {
        let change = self.above.get(nth).copied().unwrap_or(self.width);
        change > at || (at == 0 && self.row.is_empty())
    }

    fn mode(&mut self) -> Result<Mode, ImageError> {
        let next = self.bits.peek(7)?;
        let (mode, bits) = match next {
            0b100_0000.. => (Mode::Vertical(0), 1),
            0b011_0000.. => (Mode::Vertical(1), 3),
            0b010_0000.. => (Mode::Vertical(-1), 3),
            0b001_0000.. => (Mode::Horizontal, 3),
            0b000_1000.. => (Mode::Pass, 4),
            0b000_0110.. => (Mode::Vertical(2), 6),
            0b000_0100.. => (Mode::Vertical(-2), 6),
            0b000_0011 => (Mode::Vertical(3), 7),
            0b000_0010 => (Mode::Vertical(-3), 7),
            _ => return Err(no_code(&self.bits)),
        };
        self.bits.take(bits)?;
        Ok(mode)
    }
}

/// What a code of a difference says of the next change.
enum Mode {
    /// It is not before the two above.
    Pass,
    /// It is told as runs.
    Horizontal,
    /// It is so many pixels right of the one above.
    Vertical(isize),
}

fn no_code(bits: &Bits<'_>) -> ImageError {
    match bits.behind > 0 {
        true => truncated(),
        false => damaged("a code of its pixels does not exist"),
    }
}

/// Changes of colour that a row may have: runs of no pixels are allowed, but not without an end.
fn most_changes(width: usize) -> usize {
    2 * width.next_multiple_of(32)
}

/// Sets the bits from one place to another.
fn blacken(row: &mut [u8], from: usize, to: usize) {
    if from >= to {
        return;
    }
    let (first, last) = (from / 8, (to - 1) / 8);
    let (head, tail) = (0xff_u8 >> (from % 8), 0xff_u8 << (7 - (to - 1) % 8));
    let Some(bytes) = row.get_mut(first..=last) else {
        return;
    };
    match bytes {
        [byte] => *byte |= head & tail,
        [begin, middle @ .., end] => {
            *begin |= head;
            middle.fill(0xff);
            *end |= tail;
        }
        [] => {}
    }
}
