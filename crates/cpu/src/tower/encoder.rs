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
use std::sync::Arc;

use super::apart::apart;
use super::attention::{Head, Projected, attend};
use super::dealing::{Way, pieces, way};
use super::layer::{Layer, stride};
use super::observed::{Largest, Observed};
use super::space::Space;
use super::together::{To, add, fine_row, narrow, together};
use crate::error::Error;
use crate::grid::{Even, Grid};
use crate::kernel::Kernel;
use crate::matrix::Rows;
use crate::quantize::DEEPEST;
use crate::shape::EncoderShape;
use crate::source::Source;
use crate::team::Team;

/// What of its weights a tower keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All, packed.
    Packed,
    /// Nothing of its layers: each is packed anew whenever a batch comes to it. For a
    /// tower that is asked a few times and then dropped.
    Nothing,
}

/// All layers.
pub(crate) struct Encoder<K> {
    kernel: K,
    shape: EncoderShape,
    layers: Layers<K>,
    observed: Option<Observed>,
}

/// Where the layers are.
enum Layers<K> {
    /// Packed, for as long as the tower lives.
    Kept(Vec<Layer<K>>),
    /// In the source, under this name: each is packed when its turn comes.
    Read(Arc<dyn Source>, String),
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
        if K::QUANTIZED && shape.width > DEEPEST {
            return Err(Error::Unsupported {
                kernel: super::name_of::<K>(),
                reason: format!("it is {} wide, more than {DEEPEST}", shape.width),
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
            observed: None,
        })
    }

    /// From now on every run notes how large the numbers are; each is slower by reading them.
    pub fn observe(&mut self) -> Result<(), Error> {
        let EncoderShape {
            layers,
            width,
            hidden,
            ..
        } = self.shape;
        self.observed = Some(Observed::new::<K>(layers, width, hidden)?);
        Ok(())
    }

    /// What was seen of each layer since [`Encoder::observe`].
    pub fn largest(&self) -> Vec<Largest> {
        self.observed
            .as_ref()
            .map_or_else(Vec::new, Observed::largest)
    }

    /// Takes the rows of `items`, which are in `space.stream`, through all layers; `between`
    /// is called after each. With `last_only`, the last layer is computed only for the last
    /// row of each item, and then the stream holds only those rows.
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
        // Together all of a product's left side is in the space afterwards.
        let forced = match &self.observed {
            Some(_) => Some(Way::Together),
            None => forced,
        };
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
            let way = forced.unwrap_or_else(|| way::<K>(rows, team.size()));
            self.project(team, space, layer, rows, way)?;
            if let Some(observed) = &self.observed {
                observed.projected::<K>(index, space, rows);
            }
            let last = last_only && index + 1 == self.shape.layers;
            self.attention(team, space, items, last)?;
            if last {
                for (at, item) in items.iter().enumerate() {
                    let from = (item.end - 1) * stride(width);
                    space
                        .stream
                        .copy_within(from..from + width, at * stride(width));
                }
                let way = forced.unwrap_or_else(|| self::way::<K>(items.len(), team.size()));
                self.mix(team, space, layer, items.len(), way)?;
            } else {
                self.mix(team, space, layer, rows, way)?;
            }
            if let Some(observed) = &self.observed {
                let rows = if last { items.len() } else { rows };
                observed.mixed::<K>(index, space, rows);
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
        let Space {
            threads,
            stream,
            projected,
            left,
            ..
        } = space;
        let norm = &layer.before;
        if way == Way::Together {
            narrow(
                kernel,
                team,
                threads,
                left,
                rows,
                width,
                #[inline(always)]
                |row, out| norm.apply_at(kernel.simd(), &stream[..], row, out),
            )?;
            let left = Rows::<K>::new(left, rows, width);
            let linear = std::slice::from_ref(linear);
            return together(kernel, team, threads, &[left], linear, To::Fine(projected));
        }
        let parts = pieces::<K>(rows, team.size());
        let whole = Even::new(fine, 1, 1);
        let grid = Grid::new(&mut projected[..rows * fine], fine, parts, whole);
        apart(
            kernel,
            team,
            threads,
            linear,
            &grid,
            #[inline(always)]
            |row, out| norm.apply_at(kernel.simd(), &stream[..], row, out),
            #[inline(always)]
            |block, row, column, sums| fine_row(kernel, linear, block, row, column, sums),
            |_, _| (),
        )
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
        let Space {
            threads,
            stream,
            mixed,
            left,
            ..
        } = &mut *space;
        let copy =
            |row: usize, out: &mut [f32]| out.copy_from_slice(&mixed[row * pitch..][..width]);
        let stream = &mut stream[..rows * pitch];
        if way == Way::Together {
            narrow(kernel, team, threads, left, rows, width, copy)?;
            let view = Rows::<K>::new(left, rows, width);
            let out = std::slice::from_ref(&layer.out);
            together(kernel, team, threads, &[view], out, To::Added(stream))?;
            let norm = &layer.between;
            return layer.feed.together(kernel, team, space, norm, rows);
        }
        let parts = pieces::<K>(rows, team.size());
        let grid = Grid::new(stream, pitch, parts, Even::new(pitch, 1, 1));
        apart(
            kernel,
            team,
            threads,
            &layer.out,
            &grid,
            copy,
            #[inline(always)]
            |block, row, column, sums| {
                add(kernel.simd(), sums, &layer.out.bias[column..]);
                let to = &mut block.row(row)[column..][..sums.len()];
                add(kernel.simd(), to, sums);
            },
            |scratch, block| {
                layer.feed.apart(kernel, &layer.between, scratch, block);
            },
        )
    }
}
