//! The text tower: token ids to embeddings.

use std::sync::Arc;

use super::dealing::Way;
use super::encoder::{Encoder, Keep};
use super::layer::stride;
use super::linear::{Linear, Norm};
use super::observed::Largest;
use super::space::{Space, Spaces};
use super::together::{To, narrow, together};
use super::{rows_of, waves};
use crate::error::Error;
use crate::grid::{Even, Grid};
use crate::kernel::Kernel;
use crate::matrix::Rows;
use crate::memory::Buffer;
use crate::shape::TextShape;
use crate::source::{Source, fetch};
use crate::team::Team;

const TOKENS: &str = "text_model.embeddings.token_embedding.weight";

/// The text tower over a kernel. The table of token vectors, the largest part of the model,
/// is not copied: rows are read from the source.
pub(crate) struct TextTower<K: Kernel> {
    kernel: K,
    shape: TextShape,
    source: Arc<dyn Source>,
    positions: Vec<f32>,
    encoder: Encoder<K>,
    after: Norm,
    head: Linear<K::Fine>,
    spaces: Spaces,
}

impl<K: Kernel> TextTower<K> {
    pub fn load(
        kernel: K,
        team: &Team,
        source: Arc<dyn Source>,
        shape: TextShape,
        keep: Keep,
    ) -> Result<Self, Error> {
        let width = shape.encoder.width;
        let from = &*source;
        fetch(from, TOKENS, &[shape.vocabulary, width])?;
        let name = "text_model.embeddings.position_embedding.weight";
        Ok(Self {
            kernel,
            positions: fetch(from, name, &[shape.stored_positions, width])?.floats(),
            encoder: Encoder::load(
                kernel,
                team,
                &source,
                "text_model.encoder",
                shape.encoder,
                keep,
            )?,
            after: Norm::load(
                from,
                "text_model.final_layer_norm",
                width,
                shape.encoder.epsilon,
            )?,
            head: Linear::load(
                kernel.fine(),
                team,
                from,
                "text_model.head",
                shape.projection,
                width,
            )?,
            spaces: Spaces::default(),
            source,
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
        self.shape.projection
    }

    /// Embeds texts; see [`crate::Text::run`].
    pub fn run(
        &self,
        team: &Team,
        texts: &[&[i32]],
        way: Option<Way>,
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        let TextShape {
            positions,
            vocabulary,
            projection,
            ..
        } = self.shape;
        for text in texts {
            if text.len() != positions {
                return Err(Error::Input(format!(
                    "a text has {} tokens, not {positions}",
                    text.len()
                )));
            }
            let known = |id: &i32| usize::try_from(*id).is_ok_and(|id| id < vocabulary);
            if let Some(id) = text.iter().find(|id| !known(id)) {
                return Err(Error::Input(format!(
                    "the token id {id} is none of the {vocabulary} of this model"
                )));
            }
        }
        if out.len() != texts.len() * projection {
            return Err(Error::Input(format!(
                "{} texts give {} floats, and there is room for {}",
                texts.len(),
                texts.len() * projection,
                out.len()
            )));
        }
        let lengths = vec![positions; texts.len()];
        let mut space = self.spaces.take(team.size());
        for wave in waves(&lengths, team.size()) {
            let out = &mut out[wave.start * projection..wave.end * projection];
            self.wave(team, &mut space, &texts[wave], way, between, out)?;
        }
        self.spaces.put(space);
        Ok(())
    }

    fn wave(
        &self,
        team: &Team,
        space: &mut Space,
        texts: &[&[i32]],
        way: Option<Way>,
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), Error> {
        let TextShape {
            positions,
            projection,
            ..
        } = self.shape;
        let (kernel, width) = (self.kernel.fine(), self.shape.encoder.width);
        let pitch = stride(width);
        let items = rows_of(&vec![positions; texts.len()]);
        if items.is_empty() {
            return Ok(());
        }
        self.embed(team, space, texts)?;
        self.encoder.run(team, space, &items, true, way, between)?;

        let Space {
            threads,
            stream,
            left,
            ..
        } = space;
        narrow(
            kernel,
            team,
            threads,
            left,
            texts.len(),
            width,
            #[inline(always)]
            |row, to| {
                self.after
                    .apply(kernel.simd(), &stream[row * pitch..][..width], to);
            },
        )?;
        let view = Rows::<K::Fine>::new(left, texts.len(), width);
        let mut rows = Buffer::zeroed(texts.len() * stride(projection));
        together(
            kernel,
            team,
            threads,
            &[view],
            std::slice::from_ref(&self.head),
            To::Floats(&mut rows),
        )?;
        for (row, out) in out.chunks_exact_mut(projection).enumerate() {
            out.copy_from_slice(&rows[row * stride(projection)..][..projection]);
        }
        Ok(())
    }

    /// `stream = tokens + positions`.
    fn embed(&self, team: &Team, space: &mut Space, texts: &[&[i32]]) -> Result<(), Error> {
        let width = self.shape.encoder.width;
        let pitch = stride(width);
        let table = fetch(&*self.source, TOKENS, &[self.shape.vocabulary, width])?;
        let rows = texts.len() * self.shape.positions;
        space.stream.reserve(rows * pitch);
        let stream = &mut space.stream;
        let parts = Even::new(rows, 32, team.size() * 2);
        let grid = Grid::new(
            &mut stream[..rows * pitch],
            pitch,
            parts,
            Even::new(pitch, 1, 1),
        );
        team.each(parts.parts(), |_, piece| {
            let mut block = grid.take(piece, 0);
            for row in block.rows() {
                let (text, at) = (row / self.shape.positions, row % self.shape.positions);
                let to = &mut block.row(row)[..width];
                // Checked in `run`: below the vocabulary.
                table.read(texts[text][at].unsigned_abs() as usize * width, to);
                let position = &self.positions[at * width..][..width];
                to.iter_mut()
                    .zip(position)
                    .for_each(|(to, position)| *to += position);
            }
        })?;
        Ok(())
    }
}
