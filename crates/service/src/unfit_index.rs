//! Why an index cannot be searched by a model.

use siglip2_model::fingerprint::Fingerprint;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitIndex {
    /// Its vectors have another length than the model's.
    #[error(
        "the vectors of {files} have {theirs} numbers, and those of the model {model} have {own}: \
         they cannot be compared; give the --model that made them"
    )]
    Length {
        /// The files of the index.
        files: String,
        /// The length of its vectors.
        theirs: usize,
        /// The model.
        model: String,
        /// The length of the model's vectors.
        own: usize,
    },
    /// Its vectors were made by another model, or in another precision.
    #[error(
        "the vectors of {files} were made by {made_by} (fingerprint {theirs}), and the model is \
         {model} ({own}): they cannot be compared; give the --model and --precision that made them"
    )]
    OtherModel {
        /// The files of the index.
        files: String,
        /// What made its vectors.
        made_by: String,
        /// The fingerprint of its vectors.
        theirs: Fingerprint,
        /// The model.
        model: String,
        /// The fingerprint of the model's vectors, or that it is unknown.
        own: String,
    },
    /// None of several models made its vectors.
    #[error(
        "the vectors of {files} {made}, and the models are {models}: none of them can search \
         these vectors; serve the model, in the --precision, that made them"
    )]
    NoModel {
        /// The files of the index.
        files: String,
        /// What is known of how they were made.
        made: String,
        /// The models and their fingerprints.
        models: String,
    },
    /// The model has an index already.
    #[error("the service has an index already")]
    Second,
    /// The same, of one of several models.
    #[error("model {name:?}: {error}")]
    OfModel {
        /// The model's name.
        name: String,
        /// What is wrong.
        #[source]
        error: Box<UnfitIndex>,
    },
}
