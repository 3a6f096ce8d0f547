//! What describes the fields of a body and reads them, so that each is named and described once.

/// A form: its fields as a type, which of them are read, and how.
///
/// The first field has the images, and is followed by whether there may be several; then come the
/// fields with text, each with the method of `Form` that reads it, the one that may be as long as
/// an image marked `long`; last those that are true or false, with what they are where the form
/// does not say. Every form has `apply_orientation` and `model` as well.
macro_rules! form {
    (
        $(#[$about:meta])*
        form $name:ident {
            $(#[$image_about:meta])*
            $image:ident: $Image:ty = $images:ident, many: $many:literal;
            $(
                $(#[$text_about:meta])*
                $text:ident: $Text:ty = $texts:ident;
            )*
        }
        long: $long:expr;
        $(
            $(#[$switch_about:meta])*
            $switch:ident = $unsaid:tt;
        )*
    ) => {
        #[derive(Debug, utoipa::ToSchema)]
        $(#[$about])*
        pub(crate) struct $name {
            $(#[$image_about])*
            pub(crate) $image: $Image,
            $(
                $(#[$text_about])*
                pub(crate) $text: $Text,
            )*
            $(
                $(#[$switch_about])*
                #[schema(required = false, default = $unsaid)]
                pub(crate) $switch: bool,
            )*
            /// Whether images are turned as their orientation tag says; by default as the
            /// service's `--apply-orientation` has it.
            #[schema(nullable = false)]
            pub(crate) apply_orientation: Option<bool>,
            /// Where several models are served, the name of one.
            #[schema(nullable = false)]
            pub(crate) model: Option<String>,
        }

        impl $crate::request::bodies::typed_form::TypedForm for $name {
            const FIELDS: $crate::request::form::Fields = $crate::request::form::Fields {
                image: stringify!($image),
                many: $many,
                texts: &[
                    $(stringify!($text),)*
                    $(stringify!($switch),)*
                    $crate::request::form::APPLY_ORIENTATION,
                    $crate::request::model::FIELD,
                ],
                long_text: $long,
            };

            fn from_form(
                mut form: $crate::request::form::Form,
            ) -> Result<Self, $crate::answer::problem::Problem> {
                let mut issues = $crate::answer::validation::Issues::default();
                let read = Self {
                    $image: form.$images(stringify!($image), &mut issues),
                    $($text: form.$texts(stringify!($text), &mut issues),)*
                    $($switch: form.said(stringify!($switch), $unsaid, &mut issues),)*
                    apply_orientation: form
                        .maybe_said($crate::request::form::APPLY_ORIENTATION, &mut issues),
                    model: form.text($crate::request::model::FIELD, &mut issues),
                };
                Ok(issues.or(read)?)
            }

            fn model(&self) -> Option<std::borrow::Cow<'_, str>> {
                self.model.as_deref().map(std::borrow::Cow::Borrowed)
            }

            fn apply_orientation(&self) -> Option<bool> {
                self.apply_orientation
            }
        }
    };
}

/// A form, and the JSON that says the same: `form!`, and a type of the JSON's fields, with the
/// same ones that are true or false.
///
/// The fields with texts and images are only described by the JSON's type: its method `items`
/// gives what is in them to an `ItemReader`, in their order. `Call` reads `apply_orientation` and
/// `model`, as of every body.
macro_rules! bodies {
    (
        $(#[$form_about:meta])*
        form $form:ident { $($fields:tt)* }
        long: $long:expr;
        $(#[$json_about:meta])*
        json $json:ident {
            $(
                $(#[$item_about:meta])*
                $item:ident: $Item:ty;
            )*
        }
        $(
            $(#[$switch_about:meta])*
            $switch:ident = $unsaid:tt;
        )*
    ) => {
        form! {
            $(#[$form_about])*
            form $form { $($fields)* }
            long: $long;
            $(
                $(#[$switch_about])*
                $switch = $unsaid;
            )*
        }

        #[derive(utoipa::ToSchema)]
        $(#[$json_about])*
        pub(crate) struct $json {
            $(
                $(#[$item_about])*
                #[allow(dead_code, reason = "it is only described")]
                $item: $Item,
            )*
            $(
                $(#[$switch_about])*
                #[schema(required = false, default = $unsaid)]
                pub(crate) $switch: bool,
            )*
            /// Whether images are turned as their orientation tag says; by default as the
            /// service's `--apply-orientation` has it.
            #[allow(dead_code, reason = "it is only described")]
            #[schema(nullable = false)]
            apply_orientation: Option<bool>,
            /// Where several models are served, the name of one.
            #[allow(dead_code, reason = "it is only described")]
            #[schema(nullable = false)]
            model: Option<String>,
        }

        impl $json {
            /// Reads the body; its images and texts go to the reader.
            pub(crate) fn read(
                raw: &serde_json::value::RawValue,
                reader: &mut $crate::request::item_reader::ItemReader,
            ) -> Result<Self, $crate::answer::problem::Problem> {
                let names = [$(stringify!($item),)* $(stringify!($switch),)*];
                let [$($item,)* $($switch,)*] =
                    $crate::request::json::fields("The body", raw, names)?;
                let read = Self {
                    $($item: Default::default(),)*
                    $(
                        $switch: $crate::request::json::boolean(stringify!($switch), $switch)?
                            .unwrap_or($unsaid),
                    )*
                    apply_orientation: None,
                    model: None,
                };
                read.items([$($item,)*], reader)?;
                Ok(read)
            }
        }
    };
}

pub(super) use {bodies, form};
