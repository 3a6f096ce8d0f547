//! The two sides of a product as views that know their lengths, and packed weights.

use std::marker::PhantomData;
use std::ops::Range;

use crate::kernel::{Kernel, Layout};
use crate::memory::Buffer;

/// Rows of numbers in a kernel's layout: the left side of a product.
pub struct Operand<'a, K> {
    words: &'a mut [u32],
    rows: usize,
    depth: usize,
    kernel: PhantomData<K>,
}

impl<'a, K: Kernel> Operand<'a, K> {
    const LAYOUT: Layout = K::LAYOUT;

    /// `rows` rows of `depth` numbers in `words`. What is in `words` is what they are.
    ///
    /// # Panics
    ///
    /// When `words` is too short.
    pub fn new(words: &'a mut [u32], rows: usize, depth: usize) -> Self {
        let area = Self::LAYOUT.area(rows, depth);
        Self {
            words: &mut words[..area],
            rows,
            depth,
            kernel: PhantomData,
        }
    }

    /// For reading.
    pub fn view(&self) -> Rows<'_, K> {
        Rows::new(self.words, self.rows, self.depth)
    }

    /// Writes numbers of the row `row` from the number `first` on. Both `first` and the
    /// length are multiples of 16; what is written beyond the depth must be zeros.
    #[inline(always)]
    pub fn put(&mut self, kernel: K, row: usize, first: usize, numbers: &[f32]) {
        put(
            kernel,
            self.words,
            Self::LAYOUT.pitch(self.depth),
            row,
            first,
            numbers,
        );
    }

    /// Writes words of the row `row` from the word `first` on.
    #[inline(always)]
    pub fn put_words(&mut self, row: usize, first: usize, words: &[u32]) {
        let layout = Self::LAYOUT;
        let pitch = layout.pitch(self.depth);
        if layout.group == 1 {
            self.words[row * pitch + first..][..words.len()].copy_from_slice(words);
        } else {
            for (i, &word) in words.iter().enumerate() {
                self.words[place(layout, pitch, row, first + i)] = word;
            }
        }
    }
}

/// Where a word of a row lies.
#[inline(always)]
const fn place(layout: Layout, pitch: usize, row: usize, word: usize) -> usize {
    let group = layout.group;
    row / group * pitch + word / 16 * 16 * group + row % group * 16 + word % 16
}

#[inline(always)]
fn put<K: Kernel>(
    kernel: K,
    words: &mut [u32],
    pitch: usize,
    row: usize,
    first: usize,
    numbers: &[f32],
) {
    let layout = K::LAYOUT;
    if layout.group == 1 {
        let start = row * pitch + first / layout.per_word;
        let length = numbers.len() / layout.per_word;
        kernel.narrow(numbers, &mut words[start..start + length]);
    } else {
        // A group's chunk of a row is 16 words.
        for (i, numbers) in numbers.chunks(16 * layout.per_word).enumerate() {
            let word = first / layout.per_word + i * 16;
            let start = place(layout, pitch, row, word);
            let length = numbers.len() / layout.per_word;
            kernel.narrow(numbers, &mut words[start..start + length]);
        }
    }
}

/// An [`Operand`] for reading.
pub struct Rows<'a, K> {
    words: &'a [u32],
    rows: usize,
    depth: usize,
    /// Words of depth that are passed over.
    skip: usize,
    kernel: PhantomData<K>,
}

impl<K> Clone for Rows<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Rows<'_, K> {}

impl<'a, K: Kernel> Rows<'a, K> {
    /// As [`Operand::new`].
    ///
    /// # Panics
    ///
    /// When `words` is too short.
    pub fn new(words: &'a [u32], rows: usize, depth: usize) -> Self {
        let area = K::LAYOUT.area(rows, depth);
        Self {
            words: &words[..area],
            rows,
            depth,
            skip: 0,
            kernel: PhantomData,
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The same rows from the word `skip` of depth on.
    pub fn at_depth(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// Words from one group of rows to the next.
    pub(crate) fn pitch(&self) -> usize {
        K::LAYOUT.pitch(self.depth)
    }

    /// All words from the word `word` of the row `row` on; both are multiples of what
    /// the layout lays out together.
    pub(crate) fn from(&self, row: usize, word: usize) -> &'a [u32] {
        &self.words[place(K::LAYOUT, self.pitch(), row, self.skip + word)..]
    }
}

/// A block of a matrix in a kernel's layout, for a thread that writes some groups of
/// rows and some columns of it.
pub struct OperandBlock<'a, 'b, K> {
    block: &'a mut crate::grid::Block<'b, u32>,
    kernel: PhantomData<K>,
}

impl<'a, 'b, K: Kernel> OperandBlock<'a, 'b, K> {
    /// Over a block of a grid whose rows are the groups of rows and whose columns are
    /// the words of a group.
    pub fn new(block: &'a mut crate::grid::Block<'b, u32>) -> Self {
        Self {
            block,
            kernel: PhantomData,
        }
    }

    /// As [`Operand::put`]; rows and numbers are counted as in the whole matrix.
    #[inline(always)]
    pub fn put(&mut self, kernel: K, row: usize, first: usize, numbers: &[f32]) {
        let layout = K::LAYOUT;
        let start = self.block.columns().start;
        let group = self.block.row(row / layout.group);
        for (i, numbers) in numbers.chunks(16 * layout.per_word).enumerate() {
            let word = first / layout.per_word + i * 16;
            let at = place(layout, 0, row % layout.group, word) - start;
            let length = numbers.len() / layout.per_word;
            kernel.narrow(numbers, &mut group[at..at + length]);
        }
    }
}

/// Columns in a kernel's layout: the right side of a product.
pub struct Panels<'a, K> {
    words: &'a [u32],
    depth: usize,
    vectors: usize,
    kernel: PhantomData<K>,
}

impl<K> Clone for Panels<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Panels<'_, K> {}

impl<'a, K: Kernel> Panels<'a, K> {
    /// Words of panels of `columns` columns, `depth` numbers deep.
    pub const fn area(depth: usize, columns: usize) -> usize {
        let layout = K::LAYOUT;
        columns.div_ceil(layout.lanes) * layout.lanes * layout.words(depth)
    }

    /// `columns` columns, `depth` numbers deep.
    ///
    /// # Panics
    ///
    /// When `words` is too short.
    pub fn new(words: &'a [u32], depth: usize, columns: usize) -> Self {
        Self {
            words: &words[..Self::area(depth, columns)],
            depth: K::LAYOUT.words(depth),
            vectors: columns.div_ceil(K::LAYOUT.lanes),
            kernel: PhantomData,
        }
    }

    /// How many panels there are.
    pub fn count(&self) -> usize {
        self.vectors.div_ceil(K::LAYOUT.vectors)
    }

    /// Words of depth.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of a panel: the last may have fewer.
    pub fn width(&self, panel: usize) -> usize {
        self.vectors_of(panel) * K::LAYOUT.lanes
    }

    pub(crate) fn vectors_of(&self, panel: usize) -> usize {
        (self.vectors - panel * K::LAYOUT.vectors).min(K::LAYOUT.vectors)
    }

    /// The words of a panel at this depth.
    pub(crate) fn words(&self, panel: usize, depth: Range<usize>) -> &'a [u32] {
        let layout = K::LAYOUT;
        let start = panel * layout.vectors * layout.lanes * self.depth;
        let width = self.width(panel);
        &self.words[start + depth.start * width..start + depth.end * width]
    }
}

/// Where the word `word` of the column `column` of a panel of `vectors` vectors lies.
#[inline(always)]
pub(crate) const fn place_in_panel(
    layout: Layout,
    vectors: usize,
    column: usize,
    word: usize,
) -> usize {
    let (step, lanes) = (layout.step, layout.lanes);
    word / step * (vectors * step * lanes)
        + column / lanes * (step * lanes)
        + word % step * lanes
        + column % lanes
}

/// Weights in panels, packed once.
#[derive(Debug)]
pub struct Packed<K> {
    words: Buffer<u32>,
    depth: usize,
    columns: usize,
    kernel: PhantomData<K>,
}

impl<K: Kernel> Packed<K> {
    /// Room for weights of `columns` outputs of `depth` inputs, all zeros.
    pub fn zeroed(depth: usize, columns: usize) -> Self {
        Self {
            words: Buffer::zeroed(Panels::<K>::area(depth, columns)),
            depth,
            columns,
            kernel: PhantomData,
        }
    }

    /// For products.
    pub fn view(&self) -> Panels<'_, K> {
        Panels::new(&self.words, self.depth, self.columns)
    }

    /// Inputs.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Outputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The words of each panel, for threads that fill one each, with the columns that
    /// it has.
    pub(crate) fn panels_mut(&mut self) -> impl Iterator<Item = (Range<usize>, &mut [u32])> {
        let layout = K::LAYOUT;
        let width = layout.vectors * layout.lanes;
        let columns = self.columns;
        self.words
            .chunks_mut((width * layout.words(self.depth)).max(1))
            .enumerate()
            .map(move |(panel, words)| (panel * width..((panel + 1) * width).min(columns), words))
    }

    /// Fills a panel of `words`; `row(column)` gives the weights of an output, `depth` of
    /// them, or `None` for zeros.
    pub(crate) fn fill<'r>(
        kernel: K,
        words: &mut [u32],
        depth: usize,
        columns: Range<usize>,
        mut row: impl FnMut(usize, &mut [f32]) -> bool + 'r,
    ) {
        let layout = K::LAYOUT;
        let all = layout.words(depth);
        let vectors = words.len() / (all * layout.lanes).max(1);
        let padded = layout.padded(depth);
        let mut numbers = vec![0.0; padded];
        let mut narrow = vec![0; padded / layout.per_word];
        for (at, column) in columns.enumerate() {
            if !row(column, &mut numbers[..depth]) {
                continue;
            }
            kernel.narrow(&numbers, &mut narrow);
            for (word, &value) in narrow[..all].iter().enumerate() {
                words[place_in_panel(layout, vectors, at, word)] = value;
            }
        }
    }
}
