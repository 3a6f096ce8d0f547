//! The encoder that both towers have: pre-norm layers of self-attention and a
//! feed-forward network.
//!
//! All rows of all items of a wave go through a layer together, in one of two ways that
//! give the same bits:
//!
//! ```text
//! apart: rows are dealt out, each thread takes some through as much as it can
//!   1  norm, queries + keys + values          for each piece of rows
//!   2  attention                              for each head of each item
//!   3  out, + x, norm, fc1, GELU, fc2, + x    for each piece of rows; the hidden numbers
//!                                             of a piece never leave the second cache
//! together: threads share each product, by columns and by rows
//!   norm | q k v | attention | narrow | out + x | norm | fc1, GELU | fc2 + x
//! ```
//!
//! Apart wants some rows for each thread; together is for what is less than that.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attention::{AttentionScratch, Head, Projected, attend};
use super::linear::{Linear, Norm, Part};
use crate::error::Error;
use crate::grid::{Block, Even, Grid};
use crate::kernel::Kernel;
use crate::math::{gelu_erf, gelu_tanh, relu, sigmoid_gated};
use crate::matrix::{Operand, OperandBlock, Rows};
use crate::memory::Buffer;
use crate::product::{product, scratch as scratch_of};
use crate::shape::{Activation, EncoderShape};
use crate::simd::Simd;
use crate::source::{Source, fetch};
use crate::team::Team;

/// Rows of a piece, at most: with their hidden numbers they fit the second cache.
const ROWS: usize = 112;

/// Hidden numbers of a row that are made and used up at a time.
const CHUNK: usize = 768;

/// With fewer rows for each thread, threads share each product.
const LEAST_APART: usize = 28;

/// One layer.
#[derive(Debug)]
pub(crate) struct Layer<K> {
    before: Norm,
    projections: Linear<K>,
    out: Linear<K>,
    between: Norm,
    feed: Feed<K>,
}

/// The feed-forward network.
#[derive(Debug)]
pub(crate) struct Feed<K> {
    up: Linear<K>,
    down: Linear<K>,
    activation: Activation,
}

impl<K: Kernel> Feed<K> {
    pub fn load(
        kernel: K,
        team: &Team,
        source: &dyn Source,
        name: &str,
        shape: &EncoderShape,
    ) -> Result<Self, Error> {
        Ok(Self {
            up: Linear::load(
                kernel,
                team,
                source,
                &format!("{name}.fc1"),
                shape.hidden,
                shape.width,
            )?,
            down: Linear::load(
                kernel,
                team,
                source,
                &format!("{name}.fc2"),
                shape.width,
                shape.hidden,
            )?,
            activation: shape.activation,
        })
    }

    /// The hidden numbers in chunks, in numbers. Whole panels and whole steps.
    fn chunks(&self) -> Even {
        let hidden = self.down.weights.depth();
        let unit = Linear::<K>::panel_width().max(K::LAYOUT.step * K::LAYOUT.per_word);
        Even::new(hidden, unit, hidden.div_ceil(CHUNK))
    }

    #[inline(always)]
    fn activate<S: Simd>(&self, simd: S, sums: &mut [f32], bias: &[f32]) {
        for (sums, bias) in sums
            .chunks_exact_mut(S::LANES)
            .zip(bias.chunks_exact(S::LANES))
        {
            let x = simd.add(simd.load(sums), simd.load(bias));
            let y = match self.activation {
                Activation::GeluTanh => gelu_tanh(simd, x),
                Activation::GeluErf => gelu_erf(simd, x),
                Activation::QuickGelu => sigmoid_gated(simd, x, 1.702),
                Activation::Relu => relu(simd, x),
                Activation::Silu => sigmoid_gated(simd, x, 1.0),
            };
            simd.store(y, sums);
        }
    }
}

impl<K: Kernel> Layer<K> {
    fn load(
        kernel: K,
        team: &Team,
        source: &dyn Source,
        name: &str,
        shape: &EncoderShape,
    ) -> Result<Self, Error> {
        let width = shape.width;
        let attention = format!("{name}.self_attn");
        // log2(e) / sqrt(head width): attention raises two, not e, to the scores.
        let scale = std::f32::consts::LOG2_E / (shape.head() as f32).sqrt();
        let mut parts = Vec::new();
        for (index, part) in ["q_proj", "k_proj", "v_proj"].into_iter().enumerate() {
            parts.push(Part {
                weight: fetch(
                    source,
                    &format!("{attention}.{part}.weight"),
                    &[width, width],
                )?,
                bias: Some(fetch(
                    source,
                    &format!("{attention}.{part}.bias"),
                    &[width],
                )?),
                rows: 0..width,
                column: index * stride(width),
                factor: if index == 0 { scale } else { 1.0 },
            });
        }
        let norm = |part: &str| Norm::load(source, &format!("{name}.{part}"), width, shape.epsilon);
        let layer = Self {
            before: norm("layer_norm1")?,
            projections: Linear::of(kernel, team, width, 3 * stride(width), &parts)?,
            out: Linear::load(
                kernel,
                team,
                source,
                &format!("{attention}.out_proj"),
                width,
                width,
            )?,
            between: norm("layer_norm2")?,
            feed: Feed::load(kernel, team, source, &format!("{name}.mlp"), shape)?,
        };
        source.release();
        Ok(layer)
    }
}

/// Numbers from one row of a matrix of this width to the next.
pub(crate) const fn stride(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// All layers.
pub(crate) struct Encoder<K> {
    kernel: K,
    shape: EncoderShape,
    layers: Layers<K>,
}

/// Where the layers are.
enum Layers<K> {
    /// Packed, for as long as the tower lives.
    Kept(Vec<Layer<K>>),
    /// In the source, under this name: each is packed when its turn comes.
    Read(Arc<dyn Source>, String),
}

/// Memory of one thread.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub left: Buffer<u32>,
    hidden: Buffer<u32>,
    pub sums: Buffer<f32>,
    pub row: Buffer<f32>,
    attention: AttentionScratch,
}

impl Scratch {
    fn new() -> Self {
        Self {
            left: Buffer::zeroed(0),
            hidden: Buffer::zeroed(0),
            sums: Buffer::zeroed(0),
            row: Buffer::zeroed(0),
            attention: AttentionScratch::new(),
        }
    }
}

/// Memory of one run.
#[derive(Debug)]
pub(crate) struct Space {
    pub threads: Vec<Mutex<Scratch>>,
    /// The residual stream of all rows, [`stride`] apart.
    pub stream: Buffer<f32>,
    /// Queries, keys and values.
    projected: Buffer<u32>,
    /// What attention gives.
    mixed: Buffer<f32>,
    pub left: Buffer<u32>,
    hidden: Buffer<u32>,
}

impl Space {
    pub fn new(threads: usize) -> Self {
        Self {
            threads: (0..threads).map(|_| Mutex::new(Scratch::new())).collect(),
            stream: Buffer::zeroed(0),
            projected: Buffer::zeroed(0),
            mixed: Buffer::zeroed(0),
            left: Buffer::zeroed(0),
            hidden: Buffer::zeroed(0),
        }
    }

    /// A member's own memory: nobody else asks for it while the member is at a piece.
    pub fn scratch(threads: &[Mutex<Scratch>], member: usize) -> MutexGuard<'_, Scratch> {
        threads[member]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of its weights a tower keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All, packed.
    Packed,
    /// Nothing of its layers: each is packed anew whenever a batch comes to it. For a
    /// tower that is asked a few times and then dropped.
    Nothing,
}

/// How rows are dealt out to threads; both ways give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Apart,
    Together,
}

/// The way for so many rows.
pub(crate) fn way(rows: usize, threads: usize) -> Way {
    if rows >= threads * LEAST_APART {
        Way::Apart
    } else {
        Way::Together
    }
}

/// Rows in pieces, a multiple of the number of threads.
pub(crate) fn pieces<K: Kernel>(rows: usize, threads: usize) -> Even {
    let parts = rows.div_ceil(ROWS * threads) * threads;
    Even::new(rows, K::LAYOUT.group, parts)
}

/// One product that threads share: pieces of rows by pieces of panels.
fn shared<K: Kernel>(rows: usize, panels: usize, threads: usize) -> (Even, Even) {
    let by_rows = Even::new(
        rows,
        K::LAYOUT.group.max(K::LAYOUT.rows),
        rows.div_ceil(ROWS),
    );
    let wanted = if threads == 1 { 1 } else { threads * 3 };
    let by_panels = Even::new(panels, 1, wanted.div_ceil(by_rows.parts()));
    (by_rows, by_panels)
}

/// Where the results of a shared product go.
pub(crate) enum To<'a, K> {
    /// `out = sums + bias`, floats [`stride`] apart.
    Floats(&'a mut [f32]),
    /// `out += sums + bias`, the depth in these chunks.
    Added(&'a mut [f32], Even),
    /// `sums + bias` in the finer kernel's numbers, row-major.
    Fine(&'a mut [u32]),
    /// `activation(sums + bias)` as the left side of the next product.
    Activated(&'a mut [u32], &'a Feed<K>),
}

impl<K: Kernel> Encoder<K> {
    pub fn load(
        kernel: K,
        team: &Team,
        source: &Arc<dyn Source>,
        name: &str,
        shape: EncoderShape,
        keep: Keep,
    ) -> Result<Self, Error> {
        let fine = K::Fine::LAYOUT.per_word;
        if !shape.head().is_multiple_of(fine) {
            return Err(Error::Unsupported {
                kernel: super::name_of::<K>(),
                reason: format!(
                    "its heads are {} wide, not a multiple of {fine}",
                    shape.head()
                ),
            });
        }
        let layers = match keep {
            Keep::Packed => {
                let load = |layer| {
                    Layer::load(
                        kernel,
                        team,
                        &**source,
                        &format!("{name}.layers.{layer}"),
                        &shape,
                    )
                };
                Layers::Kept((0..shape.layers).map(load).collect::<Result<_, _>>()?)
            }
            Keep::Nothing => Layers::Read(Arc::clone(source), name.to_owned()),
        };
        Ok(Self {
            kernel,
            shape,
            layers,
        })
    }

    /// Takes the rows of `items`, which are in `space.stream`, through all layers;
    /// `between` is called after each. With `last_only` the last layer is computed for the last row of each
    /// item alone, and the stream holds those rows and no others afterwards.
    pub fn run(
        &self,
        team: &Team,
        space: &mut Space,
        items: &[Range<usize>],
        last_only: bool,
        forced: Option<Way>,
        between: &mut dyn FnMut(),
    ) -> Result<(), Error> {
        let rows = items.last().map_or(0, |item| item.end);
        let width = self.shape.width;
        let columns = 3 * stride(width);
        let fine = columns / K::Fine::LAYOUT.per_word;
        space.projected.reserve(rows * fine);
        space.mixed.reserve(rows * stride(width));
        for index in 0..self.shape.layers {
            let read;
            let layer = match &self.layers {
                Layers::Kept(layers) => &layers[index],
                Layers::Read(source, name) => {
                    let name = format!("{name}.layers.{index}");
                    read = Layer::load(self.kernel, team, &**source, &name, &self.shape)?;
                    &read
                }
            };
            let way = forced.unwrap_or_else(|| way(rows, team.size()));
            self.project(team, space, layer, rows, way)?;
            let last = last_only && index + 1 == self.shape.layers;
            self.attention(team, space, items, last)?;
            if last {
                for (at, item) in items.iter().enumerate() {
                    let from = (item.end - 1) * stride(width);
                    space
                        .stream
                        .copy_within(from..from + width, at * stride(width));
                }
                let way = forced.unwrap_or_else(|| self::way(items.len(), team.size()));
                self.mix(team, space, layer, items.len(), way)?;
            } else {
                self.mix(team, space, layer, rows, way)?;
            }
            between();
        }
        Ok(())
    }

    /// Queries, keys and values of all rows.
    fn project(
        &self,
        team: &Team,
        space: &mut Space,
        layer: &Layer<K>,
        rows: usize,
        way: Way,
    ) -> Result<(), Error> {
        let (kernel, width) = (self.kernel, self.shape.width);
        let columns = 3 * stride(width);
        let fine = columns / K::Fine::LAYOUT.per_word;
        let linear = &layer.projections;
        if way == Way::Together {
            let Space {
                threads,
                stream,
                projected,
                left,
                ..
            } = space;
            narrow(
                kernel,
                team,
                threads,
                left,
                rows,
                width,
                #[inline(always)]
                |row, out| {
                    layer
                        .before
                        .apply(kernel.simd(), &stream[row * stride(width)..][..width], out);
                },
            )?;
            let left = Rows::<K>::new(left, rows, width);
            return together(kernel, team, threads, left, linear, To::Fine(projected));
        }
        let parts = pieces::<K>(rows, team.size());
        let Space {
            threads,
            stream,
            projected,
            ..
        } = space;
        let stream = &**stream;
        let grid = Grid::new(
            &mut projected[..rows * fine],
            fine,
            parts,
            Even::new(fine, 1, 1),
        );
        team.each(parts.parts(), |member, piece| {
            let scratch = &mut *Space::scratch(threads, member);
            let mut block = grid.take(piece, 0);
            let rows = block.rows();
            let left = fill(
                kernel,
                &mut scratch.left,
                &mut scratch.row,
                rows.len(),
                width,
                #[inline(always)]
                |i, out| {
                    let row = rows.start + i;
                    layer
                        .before
                        .apply(kernel.simd(), &stream[row * stride(width)..][..width], out);
                },
            );
            scratch.sums.reserve(scratch_of::<K>(rows.len()));
            let panels = linear.panels();
            product(
                kernel,
                left,
                0..rows.len(),
                panels,
                0..panels.depth(),
                0..panels.count(),
                &mut scratch.sums,
                #[inline(always)]
                |row, column, sums| {
                    fine_row(kernel, linear, &mut block, rows.start + row, column, sums);
                },
            );
        })?;
        Ok(())
    }

    /// Attention of every head of every item, or of the last row of each item alone;
    /// then `space.mixed` has one row for each item.
    fn attention(
        &self,
        team: &Team,
        space: &mut Space,
        items: &[Range<usize>],
        last: bool,
    ) -> Result<(), Error> {
        let (heads, head) = (self.shape.heads, self.shape.head());
        let kernel = self.kernel.fine();
        let width = stride(self.shape.width);
        let fine = K::Fine::LAYOUT.per_word;
        let Space {
            threads,
            projected,
            mixed,
            ..
        } = space;
        let projected = Projected {
            words: projected,
            pitch: 3 * width / fine,
            part: width / fine,
        };
        // Queries of an item are dealt out, too, where there are few heads.
        let longest = items.iter().map(Range::len).max().unwrap_or(0);
        let split = if last {
            1
        } else {
            (2 * team.size())
                .div_ceil(items.len().max(1) * heads)
                .min(longest.div_ceil(64))
                .max(1)
        };
        let pieces = items.len() * split * heads;
        let cells: Vec<(Range<usize>, Range<usize>)> = items
            .iter()
            .enumerate()
            .flat_map(|(index, item)| {
                let parts = Even::new(item.len(), K::LAYOUT.group, split);
                (0..split).map(move |part| {
                    if last {
                        return (item.end - 1..item.end, index..index + 1);
                    }
                    if part >= parts.parts() {
                        return (item.end..item.end, item.end..item.end);
                    }
                    let range = parts.range(part);
                    let range = item.start + range.start..item.start + range.end;
                    (range.clone(), range)
                })
            })
            .collect();
        // Columns of heads, rows of the cells.
        let rows = cells.last().map_or(0, |cell| cell.1.end);
        let ranges = cells.iter().map(|cell| cell.1.clone()).collect();
        let columns = Even::new(heads * head, head, heads);
        let grid = Grid::of(&mut mixed[..rows * width], width, ranges, columns);
        team.each(pieces, |member, piece| {
            let (cell, index) = (piece / heads, piece % heads);
            let (queries, out) = cells[cell].clone();
            if queries.is_empty() {
                return;
            }
            let scratch = &mut *Space::scratch(threads, member);
            let mut block = grid.take(cell, index);
            let head = Head {
                rows: items[cell / split].clone(),
                first: index * head,
                width: head,
            };
            attend(
                kernel,
                &mut scratch.attention,
                projected,
                &head,
                queries.clone(),
                #[inline(always)]
                |row, values| {
                    block
                        .row(out.start + row - queries.start)
                        .copy_from_slice(values);
                },
            );
        })?;
        Ok(())
    }

    /// What follows attention: the output projection and the feed-forward network, each
    /// added to the stream.
    fn mix(
        &self,
        team: &Team,
        space: &mut Space,
        layer: &Layer<K>,
        rows: usize,
        way: Way,
    ) -> Result<(), Error> {
        let (kernel, width) = (self.kernel, self.shape.width);
        let pitch = stride(width);
        if way == Way::Together {
            let Space {
                threads,
                stream,
                mixed,
                left,
                ..
            } = &mut *space;
            narrow(
                kernel,
                team,
                threads,
                left,
                rows,
                width,
                #[inline(always)]
                |row, out| {
                    out.copy_from_slice(&mixed[row * pitch..][..width]);
                },
            )?;
            let view = Rows::<K>::new(left, rows, width);
            let whole = Even::new(width, 1, 1);
            together(
                kernel,
                team,
                threads,
                view,
                &layer.out,
                To::Added(&mut stream[..rows * pitch], whole),
            )?;
            return feed_together(kernel, team, space, &layer.between, &layer.feed, rows);
        }
        let parts = pieces::<K>(rows, team.size());
        let Space {
            threads,
            stream,
            mixed,
            ..
        } = space;
        let grid = Grid::new(
            &mut stream[..rows * pitch],
            pitch,
            parts,
            Even::new(pitch, 1, 1),
        );
        let mixed = &**mixed;
        team.each(parts.parts(), |member, piece| {
            let scratch = &mut *Space::scratch(threads, member);
            let mut block = grid.take(piece, 0);
            let rows = block.rows();
            let (first, count) = (rows.start, rows.len());
            scratch.sums.reserve(scratch_of::<K>(count));

            let left = fill(
                kernel,
                &mut scratch.left,
                &mut scratch.row,
                count,
                width,
                #[inline(always)]
                |i, out| {
                    out.copy_from_slice(&mixed[(first + i) * pitch..][..width]);
                },
            );
            let panels = layer.out.panels();
            product(
                kernel,
                left,
                0..count,
                panels,
                0..panels.depth(),
                0..panels.count(),
                &mut scratch.sums,
                #[inline(always)]
                |row, column, sums| {
                    add(kernel.simd(), sums, &layer.out.bias[column..]);
                    add(
                        kernel.simd(),
                        &mut block.row(first + row)[column..][..sums.len()],
                        sums,
                    );
                },
            );

            let left = fill(
                kernel,
                &mut scratch.left,
                &mut scratch.row,
                count,
                width,
                #[inline(always)]
                |i, out| {
                    layer
                        .between
                        .apply(kernel.simd(), &block.row(first + i)[..width], out);
                },
            );
            let feed = &layer.feed;
            let (up, down) = (feed.up.panels(), feed.down.panels());
            for chunk in feed.chunks().ranges() {
                let layout = K::LAYOUT;
                scratch
                    .hidden
                    .reserve(layout.area(count.max(ROWS), chunk.len().max(CHUNK)));
                let mut hidden = Operand::<K>::new(&mut scratch.hidden, count, chunk.len());
                let panel = Linear::<K>::panel_width();
                let panels = chunk.start / panel..chunk.end.div_ceil(panel);
                let written = panels.clone().map(|p| up.width(p)).sum::<usize>();
                zero_tail(
                    kernel,
                    &mut hidden,
                    count,
                    written,
                    layout.padded(chunk.len()),
                );
                product(
                    kernel,
                    left,
                    0..count,
                    up,
                    0..up.depth(),
                    panels,
                    &mut scratch.sums,
                    #[inline(always)]
                    |row, column, sums| {
                        feed.activate(kernel.simd(), sums, &feed.up.bias[column..]);
                        hidden.put(kernel, row, column - chunk.start, sums);
                    },
                );
                let depth = chunk.start / layout.per_word..layout.words(chunk.end);
                product(
                    kernel,
                    hidden.view(),
                    0..count,
                    down,
                    depth,
                    0..down.count(),
                    &mut scratch.sums,
                    #[inline(always)]
                    |row, column, sums| {
                        if chunk.start == 0 {
                            add(kernel.simd(), sums, &feed.down.bias[column..]);
                        }
                        add(
                            kernel.simd(),
                            &mut block.row(first + row)[column..][..sums.len()],
                            sums,
                        );
                    },
                );
            }
        })?;
        Ok(())
    }
}

/// `x + feed(norm(x))` on the rows of the stream, shared by all threads.
pub(crate) fn feed_together<K: Kernel>(
    kernel: K,
    team: &Team,
    space: &mut Space,
    norm: &Norm,
    feed: &Feed<K>,
    rows: usize,
) -> Result<(), Error> {
    let width = norm.gain.len();
    let pitch = stride(width);
    let Space {
        threads,
        stream,
        left,
        hidden,
        ..
    } = space;
    narrow(
        kernel,
        team,
        threads,
        left,
        rows,
        width,
        #[inline(always)]
        |row, out| {
            norm.apply(kernel.simd(), &stream[row * pitch..][..width], out);
        },
    )?;
    let view = Rows::<K>::new(left, rows, width);
    let depth = feed.down.weights.depth();
    hidden.reserve(K::LAYOUT.area(rows, depth));
    together(
        kernel,
        team,
        threads,
        view,
        &feed.up,
        To::Activated(hidden, feed),
    )?;
    let view = Rows::<K>::new(hidden, rows, depth);
    let to = To::Added(&mut stream[..rows * pitch], feed.chunks());
    together(kernel, team, threads, view, &feed.down, to)
}

/// Zeros in a left side from the number `from` to `to`, where a step of depth is wider
/// than what is written.
fn zero_tail<K: Kernel>(kernel: K, left: &mut Operand<'_, K>, rows: usize, from: usize, to: usize) {
    if from < to {
        let from = from / 16 * 16;
        for row in 0..rows {
            left.put(kernel, row, from, &[0.0; 128][..to - from]);
        }
    }
}

/// Rows of floats as the left side of a product: `write(row, floats)` makes each.
pub(crate) fn fill<'a, K: Kernel>(
    kernel: K,
    words: &'a mut Buffer<u32>,
    row: &mut Buffer<f32>,
    rows: usize,
    width: usize,
    mut write: impl FnMut(usize, &mut [f32]),
) -> Rows<'a, K> {
    let layout = K::LAYOUT;
    words.reserve(layout.area(rows.max(ROWS), width));
    let padded = layout.padded(width);
    row.reserve(padded);
    let row = &mut row[..padded];
    row[width..].fill(0.0);
    let mut left = Operand::<K>::new(words, rows, width);
    kernel.simd().vectorize(
        #[inline(always)]
        || {
            for i in 0..rows {
                write(i, &mut row[..width]);
                left.put(kernel, i, 0, row);
            }
        },
    );
    Rows::new(words, rows, width)
}

/// The same by all threads.
pub(crate) fn narrow<K: Kernel>(
    kernel: K,
    team: &Team,
    threads: &[Mutex<Scratch>],
    words: &mut Buffer<u32>,
    rows: usize,
    width: usize,
    write: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<(), Error> {
    let layout = K::LAYOUT;
    words.reserve(layout.area(rows, width));
    let pitch = layout.pitch(width);
    let groups = rows.div_ceil(layout.group);
    // A row takes a microsecond: fewer than some are not worth a thread.
    let parts = Even::new(groups, 8_usize.div_ceil(layout.group), team.size());
    let grid = Grid::new(
        &mut words[..groups * pitch],
        pitch,
        parts,
        Even::new(pitch, 1, 1),
    );
    let padded = layout.padded(width);
    team.each(parts.parts(), |member, piece| {
        let scratch = &mut *Space::scratch(threads, member);
        scratch.row.reserve(padded);
        let numbers = &mut scratch.row[..padded];
        numbers[width..].fill(0.0);
        let mut block = grid.take(piece, 0);
        let groups = block.rows();
        let mut left = OperandBlock::<K>::new(&mut block);
        kernel.simd().vectorize(
            #[inline(always)]
            || {
                for row in groups.start * layout.group..(groups.end * layout.group).min(rows) {
                    write(row, &mut numbers[..width]);
                    left.put(kernel, row, 0, numbers);
                }
            },
        );
    })?;
    Ok(())
}

/// One product, shared by all threads.
pub(crate) fn together<K: Kernel>(
    kernel: K,
    team: &Team,
    threads: &[Mutex<Scratch>],
    left: Rows<'_, K>,
    linear: &Linear<K>,
    to: To<'_, K>,
) -> Result<(), Error> {
    let layout = K::LAYOUT;
    let simd = kernel.simd();
    let panels = linear.panels();
    let (by_rows, by_panels) = shared::<K>(left.rows(), panels.count(), team.size());
    let share = Share {
        kernel,
        threads,
        left,
        linear,
        by_rows,
        by_panels,
    };
    let pieces = by_rows.parts() * by_panels.parts();
    let panel = Linear::<K>::panel_width();
    let pitch = linear.bias.len();
    let columns = (panels.count() * panel).min(pitch);
    let whole = Even::new(left.depth(), 1, 1);
    match to {
        To::Floats(out) => {
            let by_columns = Even::new(columns, panel, by_panels.parts());
            let grid = Grid::new(out, pitch, by_rows, by_columns);
            team.each(pieces, |member, piece| {
                let mut block = grid.take(share.row(piece), share.column(piece));
                let first = block.columns().start;
                share.piece(
                    member,
                    piece,
                    whole,
                    #[inline(always)]
                    |_, row, column, sums| {
                        add(simd, sums, &linear.bias[column..]);
                        block.row(row)[column - first..][..sums.len()].copy_from_slice(sums);
                    },
                );
            })?;
        }
        To::Added(out, chunks) => {
            let by_columns = Even::new(columns, panel, by_panels.parts());
            let grid = Grid::new(out, pitch, by_rows, by_columns);
            team.each(pieces, |member, piece| {
                let mut block = grid.take(share.row(piece), share.column(piece));
                let first = block.columns().start;
                share.piece(
                    member,
                    piece,
                    chunks,
                    #[inline(always)]
                    |chunk, row, column, sums| {
                        if chunk == 0 {
                            add(simd, sums, &linear.bias[column..]);
                        }
                        add(
                            simd,
                            &mut block.row(row)[column - first..][..sums.len()],
                            sums,
                        );
                    },
                );
            })?;
        }
        To::Fine(out) => {
            let fine = K::Fine::LAYOUT.per_word;
            let (words, rows) = (pitch / fine, left.rows());
            let by_columns = Even::new(columns / fine, panel / fine, by_panels.parts());
            let grid = Grid::new(&mut out[..rows * words], words, by_rows, by_columns);
            team.each(pieces, |member, piece| {
                let mut block = grid.take(share.row(piece), share.column(piece));
                share.piece(
                    member,
                    piece,
                    whole,
                    #[inline(always)]
                    |_, row, column, sums| {
                        fine_row(kernel, linear, &mut block, row, column, sums);
                    },
                );
            })?;
        }
        To::Activated(out, feed) => {
            let depth = linear.weights.columns();
            let pitch = layout.pitch(depth);
            let groups = left.rows().div_ceil(layout.group);
            let unit = layout.group.max(layout.rows) / layout.group;
            let by_groups = Even::new(groups, unit, by_rows.parts());
            let unit = panel / layout.per_word * layout.group;
            let words = (panels.count() * unit).min(pitch);
            let by_words = Even::new(words, unit, by_panels.parts());
            let grid = Grid::new(&mut out[..groups * pitch], pitch, by_groups, by_words);
            team.each(pieces, |member, piece| {
                let mut block = grid.take(share.row(piece), share.column(piece));
                let mut hidden = OperandBlock::<K>::new(&mut block);
                share.piece(
                    member,
                    piece,
                    whole,
                    #[inline(always)]
                    |_, row, column, sums| {
                        feed.activate(simd, sums, &linear.bias[column..]);
                        hidden.put(kernel, row, column, sums);
                        // The last panel may have fewer columns than a step has numbers.
                        if layout.step > 1 && sums.len() < panel {
                            hidden.put(
                                kernel,
                                row,
                                column + sums.len(),
                                &[0.0; 64][..panel - sums.len()],
                            );
                        }
                    },
                );
            })?;
        }
    }
    Ok(())
}

/// A product that is dealt out, by rows and by panels.
struct Share<'a, K> {
    kernel: K,
    threads: &'a [Mutex<Scratch>],
    left: Rows<'a, K>,
    linear: &'a Linear<K>,
    by_rows: Even,
    by_panels: Even,
}

impl<K: Kernel> Share<'_, K> {
    fn row(&self, piece: usize) -> usize {
        piece / self.by_panels.parts()
    }

    fn column(&self, piece: usize) -> usize {
        piece % self.by_panels.parts()
    }

    /// One piece, chunk of depth by chunk: `done(chunk, row, column, sums)`.
    #[inline(always)]
    fn piece(
        &self,
        member: usize,
        piece: usize,
        chunks: Even,
        mut done: impl FnMut(usize, usize, usize, &mut [f32]),
    ) {
        let scratch = &mut *Space::scratch(self.threads, member);
        let rows = self.by_rows.range(self.row(piece));
        let range = self.by_panels.range(self.column(piece));
        scratch.sums.reserve(scratch_of::<K>(rows.len()));
        for (index, chunk) in chunks.ranges().enumerate() {
            let depth = chunk.start / K::LAYOUT.per_word..K::LAYOUT.words(chunk.end);
            let left = self.left.at_depth(depth.start);
            let panels = self.linear.panels();
            let sums = &mut scratch.sums;
            product(
                self.kernel,
                left,
                rows.clone(),
                panels,
                depth,
                range.clone(),
                sums,
                #[inline(always)]
                |row, column, sums| {
                    done(index, row, column, sums);
                },
            );
        }
    }
}

/// `to += from`.
#[inline(always)]
fn add<S: Simd>(simd: S, to: &mut [f32], from: &[f32]) {
    for (to, from) in to
        .chunks_exact_mut(S::LANES)
        .zip(from.chunks_exact(S::LANES))
    {
        simd.store(simd.add(simd.load(to), simd.load(from)), to);
    }
}

/// `sums + bias` in the finer kernel's numbers.
#[inline(always)]
fn fine_row<K: Kernel>(
    kernel: K,
    linear: &Linear<K>,
    block: &mut Block<'_, u32>,
    row: usize,
    column: usize,
    sums: &mut [f32],
) {
    let simd = kernel.simd();
    add(simd, sums, &linear.bias[column..]);
    let fine = K::Fine::LAYOUT.per_word;
    let at = column / fine - block.columns().start;
    let out = &mut block.row(row)[at..at + sums.len() / fine];
    kernel.fine().narrow(sums, out);
}
