//! Properties of how pictures become vectors.
//!
//! The pictures are drawn by tools/make_conformance_pictures.py.

use super::{Property, Question};

/// A picture's file.
#[derive(Clone, Copy, Debug)]
pub struct Picture {
    /// The name of the file.
    pub name: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// Its contents.
    pub bytes: &'static [u8],
}

macro_rules! picture {
    ($name:literal, $media_type:literal) => {
        Picture {
            name: $name,
            media_type: $media_type,
            bytes: include_bytes!(concat!("../../pictures/", $name)),
        }
    };
}

/// Opaque PNG files of three channels.
pub(super) const PLAIN: [Picture; 4] = [
    picture!("plain-0.png", "image/png"),
    picture!("plain-1.png", "image/png"),
    picture!("plain-2.png", "image/png"),
    picture!("plain-3.png", "image/png"),
];
const MIXED: [Picture; 5] = [
    picture!("plain-1.png", "image/png"),
    picture!("tall.png", "image/png"),
    picture!("baseline.jpg", "image/jpeg"),
    picture!("tiny.png", "image/png"),
    picture!("plain-0.png", "image/png"),
];

/// A property of one picture or a few, each asked alone.
macro_rules! alone {
    ($id:literal, $title:literal, $why:literal, [$($name:literal $media_type:literal),+]) => {
        Property {
            id: $id,
            title: $title,
            why: $why,
            question: Question::Pictures(const { &[$(picture!($name, $media_type)),+] }),
        }
    };
}

pub(super) fn properties() -> Vec<Property> {
    vec![
        Property {
            id: "pictures.plain",
            title: "plain PNG files",
            why: "the server scales, crops or normalizes pictures otherwise than the \
                  checkpoint's preprocessor_config.json says",
            question: Question::Pictures(&PLAIN),
        },
        alone!(
            "pictures.aspect",
            "wide and tall pictures, squashed to a square (or with NaFlex kept whole)",
            "the server crops the middle or adds borders, as is right for CLIP",
            ["wide.png" "image/png", "tall.png" "image/png"]
        ),
        alone!(
            "pictures.fine-detail",
            "a large picture with detail of one pixel, resized with antialiasing",
            "the server resizes tensors without antialias",
            ["fine.png" "image/png"]
        ),
        alone!(
            "pictures.small",
            "pictures of a few pixels, enlarged",
            "the server takes an array of 1 or 3 rows for channels, or refuses it",
            ["tiny.png" "image/png", "one-pixel.png" "image/png"]
        ),
        alone!(
            "pictures.jpeg",
            "JPEG files: baseline, progressive, full chroma",
            "another JPEG decoder, or one that enlarges chroma otherwise than libjpeg-turbo",
            [
                "baseline.jpg" "image/jpeg",
                "progressive.jpg" "image/jpeg",
                "full-chroma.jpg" "image/jpeg"
            ]
        ),
        alone!(
            "pictures.grey",
            "grey pictures",
            "the server does not convert pictures to RGB",
            ["grey.png" "image/png", "grey.jpg" "image/jpeg"]
        ),
        alone!(
            "pictures.cmyk",
            "a JPEG in CMYK",
            "its inks are inverted, as Adobe writes them, and the server takes them as they are",
            ["cmyk.jpg" "image/jpeg"]
        ),
        alone!(
            "pictures.palette",
            "a PNG with a palette",
            "the server takes the indices for grey values",
            ["palette.png" "image/png"]
        ),
        alone!(
            "pictures.grey-16",
            "a grey PNG of 16 bits, as Pillow converts it",
            "Pillow cuts values above 255 off; others scale them",
            ["grey-16.png" "image/png"]
        ),
        alone!(
            "pictures.alpha",
            "transparent pixels keep their colour",
            "the server blends them with black or white; Pillow's convert(\"RGB\") drops alpha",
            ["alpha.png" "image/png"]
        ),
        alone!(
            "pictures.orientation",
            "the orientation tag is not applied",
            "the server turns the picture; transformers' image processors do not",
            ["turned.jpg" "image/jpeg"]
        ),
        alone!(
            "pictures.gif",
            "the first frame of an animated GIF",
            "the server takes another frame, or cannot read GIF",
            ["animated.gif" "image/gif"]
        ),
        alone!(
            "pictures.webp",
            "WebP, lossy and lossless",
            "the server cannot read WebP, or enlarges its chroma otherwise than libwebp",
            ["lossless.webp" "image/webp", "lossy.webp" "image/webp"]
        ),
        alone!(
            "pictures.bmp-tiff",
            "BMP and TIFF",
            "the server cannot read them",
            ["plain.bmp" "image/bmp", "deflate.tiff" "image/tiff"]
        ),
        Property {
            id: "pictures.batch",
            title: "several pictures of unequal size in one request",
            why: "the server mixes up its rows, or its vectors depend on the rest of the batch",
            question: Question::PicturesTogether(&MIXED),
        },
        Property {
            id: "pictures.damaged",
            title: "a file that ends in the middle is refused",
            why: "a vector of half a picture looks like any other and is found by no search",
            question: Question::Damaged(picture!("damaged.png", "image/png")),
        },
    ]
}
