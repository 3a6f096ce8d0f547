//! The two sides of a product as views that know their lengths, and packed weights.

use std::marker::PhantomData;
use std::ops::Range;

use crate::kernel::{Kernel, Layout};
use crate::memory::Buffer;
use crate::quantize::{Affine, Columns, column};
use crate::simd::Simd;

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

    /// Writes numbers of the row `row` from the number `first` on, of a kernel that is not
    /// quantized. Both `first` and the length are multiples of 16; what is written beyond
    /// the depth must be zeros.
    #[inline(always)]
    pub fn put(&mut self, kernel: K, row: usize, first: usize, numbers: &[f32]) {
        let pitch = Self::LAYOUT.pitch(self.depth);
        put(kernel, self.words, pitch, row, first, numbers, Affine::NONE);
    }

    /// Writes the whole row `row`: its numbers, and zeros up to [`Layout::padded`].
    #[inline(always)]
    pub fn put_row(&mut self, kernel: K, row: usize, numbers: &[f32]) {
        let pitch = Self::LAYOUT.pitch(self.depth);
        put_row(kernel, self.words, pitch, row, numbers, self.depth);
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

/// Where the range of a row is noted: its first number and its step.
#[inline(always)]
const fn note(layout: Layout, pitch: usize, row: usize) -> usize {
    (row / layout.group + 1) * pitch - layout.notes + row % layout.group * 2
}

#[inline(always)]
fn put_row<K: Kernel>(
    kernel: K,
    words: &mut [u32],
    pitch: usize,
    row: usize,
    numbers: &[f32],
    depth: usize,
) {
    if K::QUANTIZED {
        let affine = Affine::of(kernel.simd(), &numbers[..depth]);
        let at = note(K::LAYOUT, pitch, row);
        words[at..at + 2].copy_from_slice(&[affine.least.to_bits(), affine.step.to_bits()]);
        put(kernel, words, pitch, row, 0, numbers, affine);
    } else {
        put(kernel, words, pitch, row, 0, numbers, Affine::NONE);
    }
}

#[inline(always)]
fn put<K: Kernel>(
    kernel: K,
    words: &mut [u32],
    pitch: usize,
    row: usize,
    first: usize,
    numbers: &[f32],
    affine: Affine,
) {
    let layout = K::LAYOUT;
    if layout.group == 1 {
        let start = row * pitch + first / layout.per_word;
        let length = numbers.len() / layout.per_word;
        kernel.narrow(numbers, affine, &mut words[start..start + length]);
    } else {
        // A group's chunk of a row is 16 words.
        for (i, numbers) in numbers.chunks(16 * layout.per_word).enumerate() {
            let word = first / layout.per_word + i * 16;
            let start = place(layout, pitch, row, word);
            let length = numbers.len() / layout.per_word;
            kernel.narrow(numbers, affine, &mut words[start..start + length]);
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

    /// The same rows from the word `skip` of depth on.
    pub fn at_depth(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// Words from one group of rows to the next.
    pub(crate) fn pitch(&self) -> usize {
        K::LAYOUT.pitch(self.depth)
    }

    /// The range of the row `row`, in a quantized kernel.
    #[inline(always)]
    pub(crate) fn affine(&self, row: usize) -> Affine {
        let at = note(K::LAYOUT, self.pitch(), row);
        Affine::new(
            f32::from_bits(self.words[at]),
            f32::from_bits(self.words[at + 1]),
        )
    }

    /// Where the word `word` of the row `row` lies among all words.
    #[cfg(test)]
    pub(crate) fn at(&self, row: usize, word: usize) -> usize {
        place(K::LAYOUT, self.pitch(), row, self.skip + word)
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
            kernel.narrow(numbers, Affine::NONE, &mut group[at..at + length]);
        }
    }

    /// As [`Operand::put_row`], of rows of `depth` numbers; the block has all words of a
    /// group.
    #[inline(always)]
    pub fn put_row(&mut self, kernel: K, row: usize, numbers: &[f32], depth: usize) {
        let layout = K::LAYOUT;
        let group = self.block.row(row / layout.group);
        let pitch = group.len();
        put_row(kernel, group, pitch, row % layout.group, numbers, depth);
    }
}

/// Columns in a kernel's layout: the right side of a product.
pub struct Panels<'a, K> {
    words: &'a [u32],
    factors: Columns<'a>,
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
            factors: Columns::default(),
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

    /// The factors of a panel's columns, in a quantized kernel.
    #[inline(always)]
    pub(crate) fn factors(&self, panel: usize) -> Columns<'a> {
        let start = panel * K::LAYOUT.vectors * K::LAYOUT.lanes;
        let range = start..start + self.width(panel);
        Columns {
            scales: &self.factors.scales[range.clone()],
            totals: &self.factors.totals[range],
        }
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
    /// Of each column, in a quantized kernel.
    scales: Vec<f32>,
    totals: Vec<f32>,
    depth: usize,
    columns: usize,
    kernel: PhantomData<K>,
}

impl<K: Kernel> Packed<K> {
    /// Room for weights of `columns` outputs of `depth` inputs, all zeros.
    pub fn zeroed(depth: usize, columns: usize) -> Self {
        let factors = if K::QUANTIZED {
            columns.next_multiple_of(K::LAYOUT.lanes)
        } else {
            0
        };
        Self {
            words: Buffer::zeroed(Panels::<K>::area(depth, columns)),
            scales: vec![0.0; factors],
            totals: vec![0.0; factors],
            depth,
            columns,
            kernel: PhantomData,
        }
    }

    /// For products.
    pub fn view(&self) -> Panels<'_, K> {
        Panels {
            factors: Columns {
                scales: &self.scales,
                totals: &self.totals,
            },
            ..Panels::new(&self.words, self.depth, self.columns)
        }
    }

    /// Inputs.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Outputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The panels, for threads that fill one each.
    pub(crate) fn panels_mut(&mut self) -> impl Iterator<Item = PanelMut<'_, K>> {
        let layout = K::LAYOUT;
        let width = layout.vectors * layout.lanes;
        let (columns, depth) = (self.columns, self.depth);
        let mut scales = self.scales.chunks_mut(width);
        let mut totals = self.totals.chunks_mut(width);
        self.words
            .chunks_mut((width * layout.words(depth)).max(1))
            .enumerate()
            .map(move |(panel, words)| PanelMut {
                columns: panel * width..((panel + 1) * width).min(columns),
                depth,
                words,
                scales: scales.next().unwrap_or_default(),
                totals: totals.next().unwrap_or_default(),
                kernel: PhantomData,
            })
    }
}

/// Words of a cache line.
const LINE: usize = 16;

/// A panel that is being packed.
pub(crate) struct PanelMut<'a, K> {
    columns: Range<usize>,
    depth: usize,
    words: &'a mut [u32],
    scales: &'a mut [f32],
    totals: &'a mut [f32],
    kernel: PhantomData<K>,
}

impl<K: Kernel> PanelMut<'_, K> {
    /// Fills it; `read(column, numbers)` gives the weights of an output, or is false where
    /// they are zeros.
    pub fn fill(self, kernel: K, mut read: impl FnMut(usize, &mut [f32]) -> bool) {
        let layout = K::LAYOUT;
        let all = layout.words(self.depth);
        let vectors = self.words.len() / (all * layout.lanes).max(1);
        let padded = layout.padded(self.depth);
        let mut numbers = vec![0.0; padded];
        // The columns of a vector lie next to one another in a panel, so they are written together. A
        // line more than they need, or all of them would be in the same few sets of a cache.
        let (lanes, pitch) = (layout.lanes, padded / layout.per_word + LINE);
        let mut narrow = vec![0; lanes * pitch];
        let first = self.columns.start;
        for vector in 0..vectors {
            let columns =
                first + vector * lanes..(first + (vector + 1) * lanes).min(self.columns.end);
            let at = vector * lanes;
            // Beyond the last column there are zeros.
            narrow[columns.len() * pitch..].fill(0);
            for (lane, output) in columns.enumerate() {
                let narrow = &mut narrow[lane * pitch..][..padded / layout.per_word];
                if !read(output, &mut numbers[..self.depth]) {
                    narrow.fill(0);
                    continue;
                }
                kernel.simd().vectorize(
                    #[inline(always)]
                    || {
                        if K::QUANTIZED {
                            let [scale, total] = column(kernel, &numbers, self.depth, narrow);
                            (self.scales[at + lane], self.totals[at + lane]) = (scale, total);
                        } else {
                            kernel.narrow(&numbers, Affine::NONE, narrow);
                        }
                    },
                );
            }
            for word in 0..all {
                let to = &mut self.words[place_in_panel(layout, vectors, at, word)..][..lanes];
                for (lane, to) in to.iter_mut().enumerate() {
                    *to = narrow[lane * pitch + word];
                }
            }
        }
    }
}
