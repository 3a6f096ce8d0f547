//! Embedding the items of a request, within the memory that answers may take.

use super::Call;
use crate::answer::problem::{Named, Problem};
use crate::answer::row_error::{MAX_ROW_ERROR, RowError};
use crate::request::item_reader::Items;
use crate::request::text_limits::TextLimits;
use siglip2_service::{ItemEmbeddings, Lease, PartialItems};

/// How items are embedded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Embed {
    /// Whether the rows are L2-normalized.
    pub(crate) normalize: bool,
    /// Whether a text of more tokens than the model reads is cut; if not, it is refused.
    pub(crate) truncate: bool,
}

impl Call<'_> {
    /// One embedding per item, within the memory that answers may take; `bytes` is what the
    /// answer takes at most, besides the rows themselves.
    pub(crate) async fn embed(
        &mut self,
        items: Items,
        how: Embed,
        bytes: usize,
    ) -> Result<(ItemEmbeddings, Lease), Problem> {
        let Items {
            items,
            places,
            memory,
            ..
        } = items;
        let floats = items.len() * self.model().info().dimensions;
        let answer = self.answer_bytes(bytes + 2 * size_of::<f32>() * floats)?;
        let request = self.request_with_texts(how.normalize, how.truncate)?;
        let work = request.embed_items(items, how.normalize);
        let name = |item: Named| Items::name(&places, item.index());
        let embedded = self.rows(work, name).await?;
        drop(memory);
        Ok((embedded, answer))
    }

    /// The same, where items that are for themselves may be bad: the errors of these have the
    /// indexes of their items, whose rows are empty. `bytes` is without these errors.
    pub(crate) async fn embed_each(
        &mut self,
        items: Items,
        how: Embed,
        bytes: usize,
    ) -> Result<(ItemEmbeddings, BadItems, Lease), Problem> {
        if items.for_itself_from >= items.items.len() {
            // The first bad item ends the work.
            let (embedded, answer) = self.embed(items, how, bytes).await?;
            return Ok((embedded, BadItems::default(), answer));
        }
        let Items {
            items,
            places,
            memory,
            for_itself_from,
            refused,
            ..
        } = items;
        let for_themselves = items.len().saturating_sub(for_itself_from);
        let floats = items.len() * self.model().info().dimensions;
        let errors = MAX_ROW_ERROR * for_themselves;
        let answer = self.answer_bytes(bytes + 2 * size_of::<f32>() * floats + errors)?;
        let request = self.request_with_texts(how.normalize, how.truncate)?;
        let most = TextLimits::of(&self.shared.settings).bytes();
        let work = request.embed_good_items(items, most, how.normalize);
        let name = |item: Named| Items::name(&places, item.index());
        let PartialItems {
            items,
            bad_images,
            bad_texts,
        } = self.rows(work, name).await?;
        drop(memory);
        let name = |index: usize| Items::name(&places, index);
        if let Some((index, error)) = bad_images
            .iter()
            .find(|(index, _)| *index < for_itself_from)
        {
            return Err(Problem::image(&name(*index), error));
        }
        if let Some((index, error)) = bad_texts.iter().find(|(index, _)| *index < for_itself_from) {
            return Err(Problem::text(&name(*index), error));
        }
        let bad = BadItems {
            texts: RowError::of_texts(&bad_texts, name)?,
            images: RowError::of_images(&bad_images, refused, name),
        };
        Ok((items, bad, answer))
    }
}

/// The bad ones of items that are for themselves, by the indexes of their items.
#[derive(Default)]
pub(crate) struct BadItems {
    /// The images.
    pub(crate) images: Vec<RowError>,
    /// The texts.
    pub(crate) texts: Vec<RowError>,
}
