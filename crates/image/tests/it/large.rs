//! Large pictures, one for each way in which a decoder could take more than their pixels.

use std::io::Write;

use lzma_rust2::{XzOptions, XzWriter};

use crate::fixtures::repository;
use crate::made::{self, SIDE};

/// All of them, with names.
pub fn pictures() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("png 16-bit rgba", made::png(6, 16, false)),
        ("png 16-bit rgba interlaced", made::png(6, 16, true)),
        ("png 1-bit interlaced", made::png(0, 1, true)),
        ("gif", made::gif(false)),
        ("gif interlaced", made::gif(true)),
        ("bmp run-length coded", made::bmp()),
        ("jpeg progressive", made::jpeg(1, 4)),
        ("jpeg progressive in colour", made::jpeg(3, 2)),
        ("webp lossless", made::webp_lossless(SIDE, 0, 0)),
        ("webp lossy", file("lossy.webp")),
        ("webp lossy of 4 x 4", made::webp_lossy(SIDE as u16, false)),
        ("avif", file("large.avif")),
        (
            "avif of 10 bits with film grain",
            file("large_10_bits.avif"),
        ),
        ("tiff in one strip", made::tiff(8, 4, 1, 16, SIDE, 1)),
        ("tiff turned", made::tiff(8, 3, 1, 8, SIDE, 6)),
        ("tiff of planes", made::tiff(8, 3, 2, 16, SIDE, 1)),
        ("tiff of packed bits", made::tiff(32_773, 3, 1, 8, 64, 1)),
        ("tiff of LZW", made::tiff(5, 3, 1, 8, SIDE, 1)),
        ("tiff of Zstandard", tiff(50_000, 1, SIDE)),
        ("tiff of Zstandard in planes", tiff(50_000, 2, 64)),
        ("tiff of LZMA", tiff(34_925, 1, SIDE)),
        ("tiff of LZMA in planes", tiff(34_925, 2, 512)),
        ("tiff of old-style jpeg", old_jpeg()),
        (
            "tiff of a progressive jpeg",
            made::tiff(7, 1, 1, 8, SIDE, 1),
        ),
    ]
}

/// Two bits for each block of three components.
fn old_jpeg() -> Vec<u8> {
    let blocks = (SIDE / 8).pow(2) * 3;
    let side = SIDE as u16;
    made::tiff_of_old_jpeg((side, side), side, &vec![0; blocks as usize / 4])
}

/// RGB in one of the compressions that look far back: the windows of both are 8 MiB.
fn tiff(compression: u16, planar: u16, rows: u32) -> Vec<u8> {
    let samples = if planar == 2 { 1 } else { 3 };
    let strip = vec![0; (SIDE * rows * samples) as usize];
    let strip = match compression {
        50_000 => zstd::encode_all(&strip[..], 19).unwrap(),
        _ => {
            let options = XzOptions::with_preset(6);
            let mut writer = XzWriter::new(vec![], options).unwrap();
            writer.write_all(&strip).unwrap();
            writer.finish().unwrap()
        }
    };
    made::tiff_of((SIDE, SIDE), (compression, 3, planar, 8), rows, 1, &strip)
}

/// Made by encoders: the WebP by Pillow, one colour of quality 10, the others by
/// tools/make_avif_fixtures.py.
fn file(name: &str) -> Vec<u8> {
    std::fs::read(repository("crates/image/tests/fixtures").join(name)).unwrap()
}
