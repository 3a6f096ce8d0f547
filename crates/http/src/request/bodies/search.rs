//! A text or an image to search an index by.

use super::fields::form;
use super::images::FIELD;
use super::typed_form::Upload;
use crate::request::form::File;

form! {
    /// A text or an image, and how many rows of the index are wanted.
    #[schema(as = Body_search)]
    form SearchForm {
        /// The image to search by.
        #[schema(value_type = Option<Upload>, nullable = false)]
        file: Option<File> = image, many: false;
        /// The image as base64, or as a data URI with it.
        #[schema(nullable = false)]
        image_base64: Option<String> = text;
        /// The text to search by.
        #[schema(nullable = false)]
        query: Option<String> = text;
        /// How many rows, 1 to 1000.
        #[schema(nullable = false, default = "10")]
        top: Option<String> = text;
        /// The columns of the rows that are wanted: a JSON array of names, or `*` for all.
        #[schema(nullable = false)]
        columns: Option<String> = text;
    }
    long: Some(FIELD);

    /// Whether a query of more tokens than the model reads is cut; if not, it is refused (413).
    truncate = true;
}
