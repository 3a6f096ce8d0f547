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
            "pictures.bmp",
            "BMP",
            "the server cannot read it",
            ["plain.bmp" "image/bmp"]
        ),
        alone!(
            "pictures.tiff",
            "TIFF",
            "the server cannot read it",
            ["deflate.tiff" "image/tiff"]
        ),
        alone!(
            "pictures.avif",
            "AVIF",
            "the server cannot read it, or converts its colours otherwise than libavif",
            ["plain.avif" "image/avif"]
        ),
        alone!(
            "pictures.ico",
            "the largest picture of an ICO: a PNG, or a bitmap",
            "the server cannot read it, takes the first picture or a smaller one, or applies its mask",
            ["png.ico" "image/vnd.microsoft.icon", "bitmap.ico" "image/vnd.microsoft.icon"]
        ),
        alone!(
            "pictures.cur",
            "the largest picture of a CUR",
            "the server cannot read it, or takes the first picture or a smaller one",
            ["plain.cur" "image/vnd.microsoft.icon"]
        ),
        alone!(
            "pictures.icns",
            "the largest picture of an ICNS: a PNG, or planes of colour",
            "the server cannot read it, takes a smaller picture, or applies its mask",
            ["png.icns" "image/icns", "planes.icns" "image/icns"]
        ),
        alone!(
            "pictures.tga",
            "TGA, with colours and with runs of a palette",
            "the server cannot read it, or turns it upside down: most have their last row first",
            ["plain.tga" "image/x-tga", "runs.tga" "image/x-tga"]
        ),
        alone!(
            "pictures.pnm",
            "PNM, in bytes and in decimal numbers",
            "the server cannot read it, or does not scale the 1000 levels of the numbers",
            ["plain.ppm" "image/x-portable-pixmap", "numbers.ppm" "image/x-portable-pixmap"]
        ),
        alone!(
            "pictures.qoi",
            "QOI",
            "the server cannot read it",
            ["plain.qoi" "image/qoi"]
        ),
        alone!(
            "pictures.pcx",
            "PCX, with colours and with a palette",
            "the server cannot read it, or takes its planes for pixels",
            ["plain.pcx" "image/x-pcx", "palette.pcx" "image/x-pcx"]
        ),
        alone!(
            "pictures.sgi",
            "SGI",
            "the server cannot read it, or turns it upside down: its last row is first",
            ["plain.sgi" "image/sgi"]
        ),
        alone!(
            "pictures.sun",
            "Sun raster",
            "the server cannot read it, or takes blue for red: blue is first",
            ["plain.ras" "image/x-sun-raster"]
        ),
        alone!(
            "pictures.xbm",
            "XBM",
            "the server cannot read it, or takes its bits from the highest, or black for white",
            ["plain.xbm" "image/x-xbitmap"]
        ),
        alone!(
            "pictures.xpm",
            "XPM",
            "the server cannot read it",
            ["plain.xpm" "image/x-xpixmap"]
        ),
        alone!(
            "pictures.dds",
            "DDS, plain and in blocks",
            "the server cannot read it, or interpolates the colours of blocks otherwise",
            ["plain.dds" "image/vnd-ms.dds", "blocks.dds" "image/vnd-ms.dds"]
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
            question: Question::Damaged {
                whole: PLAIN[0],
                damaged: picture!("damaged.png", "image/png"),
            },
        },
    ]
}
