//! A sentence held against others, as text-embeddings-inference has it: its JSON has another shape
//! than ours, and the same path.

use hyper::Response;

use crate::answer::json_writer::Numbers;
use crate::answer::messages::finite;
use crate::answer::problem::Problem;
use crate::answer::{self, Answer, json_bytes};
use crate::call::Call;
use crate::call::embed::Embed;
use crate::request::bodies::SentencesRequest;
use crate::request::body::off_thread;
use crate::request::item_reader::Items;

/// `POST /similarity` in that shape: the cosine of each sentence with the first one.
pub(crate) async fn scores(
    call: &mut Call<'_>,
    request: &SentencesRequest,
    items: Items,
) -> Result<Response<Answer>, Problem> {
    let how = Embed {
        normalize: true,
        truncate: request.truncate(),
    };
    let bytes = json_bytes(items.items.len());
    let products = items.items.len() * call.model().info().dimensions;
    let (embedded, mut memory) = call.embed(items, how, bytes).await?;
    let body = off_thread(bytes.max(products), move || {
        let mut sources = embedded.embeddings;
        let sentences = sources.split_off(1);
        let mut scores = Vec::with_capacity(sentences.len());
        for source in sources.rows() {
            scores.extend(sentences.cosines(source));
        }
        finite(&scores)?;
        Ok(answer::sized(&Numbers(&scores), bytes))
    });
    let body = body.await?;
    memory.shrink_to(body.len() as u64);
    Ok(answer::held_text(body, memory))
}
