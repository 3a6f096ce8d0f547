//! The vision tower: pixels to embeddings.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::apart::apart;
use super::dealing::{Way, pieces};
use super::encoder::{Encoder, Keep};
use super::layer::stride;
use super::linear::{Linear, Part};
use super::observed::Largest;
use super::pool::Pool;
use super::positions::resized;
use super::space::{Space, Spaces};
use super::{rows_of, waves};
use crate::error::Error;
use crate::grid::{Even, Grid};
use crate::kernel::Kernel;
use crate::shape::{Positions, VisionShape};
use crate::source::{Source, fetch};
use crate::team::Team;

/// A picture: RGB, one byte each, row by row.
pub type Picture<'a> = &'a [u8];

/// A picture of whole patches (NaFlex).
#[derive(Clone, Copy, Debug)]
pub struct Patches<'a> {
    /// RGB, one byte each, row by row, as of a [`Picture`].
    pub pixels: Picture<'a>,
    /// Patches from top to bottom.
    pub height: usize,
    /// Patches from left to right.
    pub width: usize,
}

/// What is embedded.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    Pictures(&'a [Picture<'a>]),
    Patches(&'a [Patches<'a>]),
}

/// The vision tower over a kernel.
pub(crate) struct VisionTower<K: Kernel> {
    kernel: K,
    shape: VisionShape,
    patch: Linear<K::Fine>,
    positions: Vec<f32>,
    encoder: Encoder<K>,
    pool: Pool<K::Fine>,
    spaces: Spaces,
}

impl<K: Kernel> VisionTower<K> {
    pub fn load(
        kernel: K,
        team: &Team,
        shared: &Arc<dyn Source>,
        shape: VisionShape,
        keep: Keep,
    ) -> Result<Self, Error> {
        let source = &**shared;
        let width = shape.encoder.width;
        let depth = 3 * shape.patch * shape.patch;
        let name = "vision_model.embeddings";
        let (dimensions, places) = match shape.positions {
            Positions::Square { side } => (
                vec![width, 3, shape.patch, shape.patch],
                (side / shape.patch).pow(2),
            ),
            Positions::Resized { side } => (vec![width, depth], side * side),
        };
        let part = Part {
            weight: fetch(
                source,
                &format!("{name}.patch_embedding.weight"),
                &dimensions,
            )?,
            bias: Some(fetch(
                source,
                &format!("{name}.patch_embedding.bias"),
                &[width],
            )?),
            rows: 0..width,
            input: 0,
            column: 0,
            factor: 1.0,
        };
        let positions = fetch(
            source,
            &format!("{name}.position_embedding.weight"),
            &[places, width],
        )?;
        Ok(Self {
            kernel,
            patch: Linear::of(kernel.fine(), team, depth, width, &[part])?,
            positions: positions.floats(),
            encoder: Encoder::load(
                kernel,
                team,
                shared,
                "vision_model.encoder",
                shape.encoder,
                keep,
            )?,
            pool: Pool::load(kernel.fine(), team, source, shape.encoder)?,
            spaces: Spaces::default(),
            shape,
        })
    }

    /// See [`Encoder::observe`].
    pub fn observe(&mut self) -> Result<(), Error> {
        self.encoder.observe()
    }

    /// See [`Encoder::largest`].
    pub fn largest(&self) -> Vec<Largest> {
        self.encoder.largest()
    }

    /// Floats of an embedding.
    pub fn dimensions(&self) -> usize {
        self.shape.encoder.width
    }

    /// Embeds pictures; see [`crate::Vision::run`].
    pub fn run(
        &self,
        team: &Team,
        input: Input<'_>,
        way: Option<Way>,
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        let lengths = self.check(input)?;
        let width = self.dimensions();
        if out.len() != lengths.len() * width {
            return Err(Error::Input(format!(
                "{} pictures give {} floats, and there is room for {}",
                lengths.len(),
                lengths.len() * width,
                out.len()
            )));
        }
        let mut space = self.spaces.take(team.size());
        for wave in waves(&lengths, team.size()) {
            let out = &mut out[wave.start * width..wave.end * width];
            self.wave(team, &mut space, input, &lengths, wave, way, between, out)?;
        }
        self.spaces.put(space);
        Ok(())
    }

    /// Patches of each picture, if the pictures are what the tower takes.
    fn check(&self, input: Input<'_>) -> Result<Vec<usize>, Error> {
        match (input, self.shape.positions) {
            (Input::Pictures(pictures), Positions::Square { side }) => {
                if let Some(picture) = pictures.iter().find(|p| p.len() != 3 * side * side) {
                    return Err(Error::Input(format!(
                        "a picture has {} bytes, not {}: RGB, {side} by {side}",
                        picture.len(),
                        3 * side * side
                    )));
                }
                Ok(vec![(side / self.shape.patch).pow(2); pictures.len()])
            }
            (Input::Patches(pictures), Positions::Resized { .. }) => {
                let depth = 3 * self.shape.patch * self.shape.patch;
                let length = |picture: &Patches<'_>| {
                    let patches = picture.height.checked_mul(picture.width).unwrap_or(0);
                    if patches == 0 || Some(picture.pixels.len()) != patches.checked_mul(depth) {
                        return Err(Error::Input(format!(
                            "a picture of {} by {} patches has {} bytes, {depth} are a patch",
                            picture.height,
                            picture.width,
                            picture.pixels.len()
                        )));
                    }
                    Ok(patches)
                };
                pictures.iter().map(length).collect()
            }
            (Input::Pictures(_), Positions::Resized { .. }) => Err(Error::Input(
                "this tower takes grids of patches, not squares".into(),
            )),
            (Input::Patches(_), Positions::Square { .. }) => Err(Error::Input(
                "this tower takes squares, not grids of patches".into(),
            )),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn wave(
        &self,
        team: &Team,
        space: &mut Space,
        input: Input<'_>,
        lengths: &[usize],
        wave: Range<usize>,
        way: Option<Way>,
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        let items = rows_of(&lengths[wave.clone()]);
        let rows = items.last().map_or(0, |item| item.end);
        if rows == 0 {
            return Ok(());
        }
        match input {
            Input::Pictures(pictures) => {
                let patches = lengths[0];
                let pictures = &pictures[wave];
                let positions = |row: usize| &self.positions[row % patches * self.dimensions()..];
                let pixels = |row: usize, to: &mut [f32]| {
                    self.pixels(pictures[row / patches], row % patches, to);
                };
                self.embed(team, space, rows, pixels, positions)?;
            }
            Input::Patches(pictures) => {
                let pictures = &pictures[wave];
                let tables = self.tables(team, pictures)?;
                let place = |row: usize| {
                    let item = items.partition_point(|item| item.end <= row);
                    (item, row - items[item].start)
                };
                let positions = |row: usize| {
                    let (item, patch) = place(row);
                    let table = &tables[&(pictures[item].height, pictures[item].width)];
                    &table[patch * self.dimensions()..]
                };
                let values = |row: usize, to: &mut [f32]| {
                    let (item, patch) = place(row);
                    self.values(&pictures[item], patch, to);
                };
                self.embed(team, space, rows, values, positions)?;
            }
        }
        self.encoder.run(team, space, &items, false, way, between)?;
        self.pool.run(self.kernel.fine(), team, space, &items, out)
    }

    /// The values of a patch of a picture, as the weights of the convolution have them:
    /// channel, row, column.
    #[inline(always)]
    fn pixels(&self, picture: Picture<'_>, patch: usize, to: &mut [f32]) {
        let Positions::Square { side } = self.shape.positions else {
            return;
        };
        let size = self.shape.patch;
        let (y, x) = (patch / (side / size) * size, patch % (side / size) * size);
        for (channel, (to, table)) in to
            .chunks_exact_mut(size * size)
            .zip(&self.shape.normalization)
            .enumerate()
        {
            for (row, to) in to.chunks_exact_mut(size).enumerate() {
                let from = &picture[((y + row) * side + x) * 3..][..3 * size];
                for (to, pixel) in to.iter_mut().zip(from.as_chunks::<3>().0) {
                    *to = table[usize::from(pixel[channel])];
                }
            }
        }
    }

    /// The values of a patch of a grid, as the weights of NaFlex have them: row, column,
    /// channel.
    #[inline(always)]
    fn values(&self, picture: &Patches<'_>, patch: usize, to: &mut [f32]) {
        let size = self.shape.patch;
        let across = picture.width * size;
        let (y, x) = (patch / picture.width * size, patch % picture.width * size);
        let [red, green, blue] = &self.shape.normalization;
        for (row, to) in to.chunks_exact_mut(3 * size).enumerate() {
            let from = &picture.pixels[((y + row) * across + x) * 3..][..3 * size];
            let pixels = from.as_chunks::<3>().0;
            for (to, &[r, g, b]) in to.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                *to = [
                    red[usize::from(r)],
                    green[usize::from(g)],
                    blue[usize::from(b)],
                ];
            }
        }
    }

    /// The position vectors of each grid among the pictures.
    fn tables(
        &self,
        team: &Team,
        pictures: &[Patches<'_>],
    ) -> Result<HashMap<(usize, usize), Vec<f32>>, Error> {
        let Positions::Resized { side } = self.shape.positions else {
            return Ok(HashMap::new());
        };
        let mut grids: Vec<_> = pictures.iter().map(|p| (p.height, p.width)).collect();
        grids.sort_unstable();
        grids.dedup();
        let made = std::sync::Mutex::new(HashMap::new());
        team.each(grids.len(), |_, index| {
            let (height, width) = grids[index];
            let table = resized(&self.positions, side, self.dimensions(), height, width);
            made.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(grids[index], table);
        })?;
        Ok(made
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// `stream = patches * weights + bias + positions`.
    fn embed<'p>(
        &self,
        team: &Team,
        space: &mut Space,
        rows: usize,
        values: impl Fn(usize, &mut [f32]) + Sync,
        positions: impl Fn(usize) -> &'p [f32] + Sync,
    ) -> Result<(), Error> {
        let (kernel, width) = (self.kernel.fine(), self.dimensions());
        let pitch = stride(width);
        space.stream.reserve(rows * pitch);
        let parts = pieces::<K::Fine>(rows, team.size());
        let stream = &mut space.stream[..rows * pitch];
        let grid = Grid::new(stream, pitch, parts, Even::new(pitch, 1, 1));
        apart(
            kernel,
            team,
            &space.threads,
            &self.patch,
            &grid,
            values,
            #[inline(always)]
            |block, row, column, sums| {
                let end = (column + sums.len()).min(width);
                let position = &positions(row)[column..end];
                let bias = &self.patch.bias[column..end];
                let to = &mut block.row(row)[column..end];
                for (((to, sum), bias), position) in
                    to.iter_mut().zip(&*sums).zip(bias).zip(position)
                {
                    *to = sum + (bias + position);
                }
            },
            |_, _| (),
        )
    }
}
