//! Pictures that lie about their size, expand, or are something else as well.

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

use weezl::{BitOrder, encode::Encoder};

use super::case::{Case, case};
use crate::common::{Form, png};
use crate::hostile::made;

fn zeros(count: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&vec![0; count]).unwrap();
    encoder.finish().unwrap()
}

fn png_of(width: u32, height: u32, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = [size.as_slice(), &[8, 2, 0, 0, 0]].concat();
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", header.as_slice())]
        .iter()
        .chain(chunks)
        .chain(&[(b"IEND", &[][..])])
    {
        bytes.extend((data.len() as u32).to_be_bytes());
        let start = bytes.len();
        bytes.extend(*kind);
        bytes.extend(*data);
        bytes.extend(crc32fast::hash(&bytes[start..]).to_be_bytes());
    }
    bytes
}

pub fn flat_png(width: u32, height: u32) -> Vec<u8> {
    png_of(
        width,
        height,
        &[(b"IDAT", &zeros((width as usize * 3 + 1) * height as usize))],
    )
}

fn gif(width: u16, height: u16, rest: &[u8]) -> Vec<u8> {
    [
        b"GIF89a".as_slice(),
        &width.to_le_bytes(),
        &height.to_le_bytes(),
        &[0, 0, 0],
        rest,
    ]
    .concat()
}

fn jpeg(width: u16, height: u16, rest: &[u8]) -> Vec<u8> {
    [
        b"\xff\xd8\xff\xc2\0\x0b\x08".as_slice(),
        &height.to_be_bytes(),
        &width.to_be_bytes(),
        &[1, 1, 0x11, 0],
        rest,
    ]
    .concat()
}

fn bmp(width: i32, height: i32) -> Vec<u8> {
    [
        b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".as_slice(),
        &width.to_le_bytes(),
        &height.to_le_bytes(),
        &[1, 0, 24, 0],
        &[0; 24],
        &[0; 64],
    ]
    .concat()
}

fn webp(width: u32, height: u32) -> Vec<u8> {
    let side = |value: u32| (value - 1).to_le_bytes()[..3].to_vec();
    [
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0".as_slice(),
        &side(width),
        &side(height),
    ]
    .concat()
}

fn tiff(width: u32, height: u32, count: u32, next: u32) -> Vec<u8> {
    let tags = [
        (256, width),
        (257, height),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, height),
        (279, count),
    ];
    let mut bytes = [
        b"II*\0\x08\0\0\0".as_slice(),
        &(tags.len() as u16).to_le_bytes(),
    ]
    .concat();
    for (tag, value) in tags {
        bytes.extend(
            [
                &u16::to_le_bytes(tag)[..],
                &[4, 0, 1, 0, 0, 0],
                &value.to_le_bytes(),
            ]
            .concat(),
        );
    }
    bytes.extend(next.to_le_bytes());
    bytes
}

/// A GIF whose only frame of this size is followed by these blocks of LZW.
fn gif_frame(screen: u16, frame: u16, lzw: &[u8]) -> Vec<u8> {
    let side = frame.to_le_bytes();
    let mut rest = [
        &b",\0\0\0\0"[..],
        &side,
        &side,
        &[0x80, 0, 0, 0, 255, 255, 255, 2],
    ]
    .concat();
    for block in lzw.chunks(255) {
        rest.push(block.len() as u8);
        rest.extend(block);
    }
    rest.extend(b"\0;");
    gif(screen, screen, &rest)
}

/// A grey TIFF whose only strip is compressed.
fn tiff_strip(side: u32, compression: u32, strip: &[u8]) -> Vec<u8> {
    let tags = [
        (256, side),
        (257, side),
        (258, 8),
        (259, compression),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, side),
        (279, strip.len() as u32),
    ];
    let directory = 8 + strip.len() as u32;
    let mut bytes = [&b"II*\0"[..], &directory.to_le_bytes(), strip].concat();
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        bytes.extend(u16::to_le_bytes(tag));
        bytes.extend([4, 0, 1, 0, 0, 0]);
        bytes.extend(u32::to_le_bytes(value));
    }
    bytes.extend([0; 4]);
    bytes
}

/// WebP of these chunks, in a file that says this length if not its own.
fn webp_of(chunks: &[(&[u8; 4], &[u8])], length: Option<u32>) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, data) in chunks {
        body.extend(*kind);
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(*data);
        body.extend(vec![0; data.len() % 2]);
    }
    let length = length.unwrap_or(body.len() as u32);
    [&b"RIFF"[..], &length.to_le_bytes(), &body].concat()
}

/// A lossless picture of 2^14 pixels a side, and nothing of them.
fn vp8l(side: u32) -> Vec<u8> {
    let size = (side - 1) | ((side - 1) << 14);
    [&[0x2f][..], &size.to_le_bytes(), &[0; 64]].concat()
}

/// A lossy one: a key frame's header and no more.
fn vp8(side: u16) -> Vec<u8> {
    let side = side.to_le_bytes();
    [&[0x10, 0, 0, 0x9d, 0x01, 0x2a][..], &side, &side, &[0; 64]].concat()
}

/// An animation on a canvas of this size, of one frame of this size.
fn animation(canvas: u32, frame: u32) -> Vec<u8> {
    let three = |value: u32| value.to_le_bytes()[..3].to_vec();
    let screen = [vec![2, 0, 0, 0], three(canvas - 1), three(canvas - 1)].concat();
    let inner = webp_of(&[(b"VP8L", &vp8l(frame.min(1 << 14)))], None);
    let moved = [
        vec![0; 6],
        three(frame - 1),
        three(frame - 1),
        vec![100, 0, 0, 0],
        inner[12..].to_vec(),
    ]
    .concat();
    webp_of(
        &[(b"VP8X", &screen), (b"ANIM", &[0; 6]), (b"ANMF", &moved)],
        None,
    )
}

/// A good JPEG with these segments before its scan.
fn jpeg_with(segments: &[u8]) -> Vec<u8> {
    let good = include_bytes!("../../fixtures/images/jpeg_420.jpg");
    let scan = good
        .windows(2)
        .position(|two| two == b"\xff\xda")
        .expect("a scan");
    [&good[..scan], segments, &good[scan..]].concat()
}

/// Small files that expand to 64 MiB, and headers that claim what no file holds.
fn expanding() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let bomb = zeros(64 << 20);
    let flat = vec![0; 64 << 20];
    let gif_lzw = Encoder::new(BitOrder::Lsb, 2).encode(&flat).expect("LZW");
    let tiff_lzw = Encoder::with_tiff_size_switch(BitOrder::Msb, 8)
        .encode(&flat)
        .expect("LZW");
    let runs = [0x81, 0].repeat(1 << 19);
    let international = [&b"a\0\x01\0\0\0"[..], &bomb].concat();
    let small = zeros(1 << 20);
    let text = [&b"a\0\0"[..], &small].concat();
    let pixels = zeros(25 * 8);
    let mut texts: Vec<(&[u8; 4], &[u8])> = vec![(b"zTXt", &text); 1000];
    texts.push((b"IDAT", &pixels));
    let endless = |kind: &[u8; 4]| {
        let mut file = png_of(8, 8, &[]);
        let end = file.len() - 12;
        file.splice(
            end..,
            [&0x7fff_ffff_u32.to_be_bytes()[..], kind, &[0; 64]].concat(),
        );
        file
    };
    let restart = |interval: u16| [&b"\xff\xdd\0\x04"[..], &interval.to_be_bytes()].concat();
    let comment = b"\xff\xfe\0\x02".repeat(100_000);
    vec![
        (
            "GIF whose LZW expands beyond its frame",
            gif_frame(8, 8, &gif_lzw),
            &[200, 400],
        ),
        (
            "GIF of a large frame on a small screen",
            gif_frame(8, 65535, &gif_lzw),
            &[400, 413],
        ),
        (
            "GIF that has few of its pixels",
            gif_frame(5000, 5000, &gif_lzw[..64]),
            &[200, 400],
        ),
        (
            "TIFF whose deflate expands",
            tiff_strip(8, 8, &bomb),
            &[200, 400],
        ),
        (
            "TIFF whose old deflate expands",
            tiff_strip(8, 32946, &bomb),
            &[200, 400, 415],
        ),
        (
            "TIFF whose LZW expands",
            tiff_strip(8, 5, &tiff_lzw),
            &[200, 400],
        ),
        (
            "TIFF whose runs expand",
            tiff_strip(8, 32773, &runs),
            &[200, 400],
        ),
        (
            "TIFF that has few of its pixels",
            tiff_strip(8000, 8, &pixels),
            &[400],
        ),
        (
            "WebP, lossless, of 16384 x 16384",
            webp_of(&[(b"VP8L", &vp8l(1 << 14))], None),
            &[400, 413],
        ),
        (
            "WebP, lossy, of 16383 x 16383",
            webp_of(&[(b"VP8 ", &vp8(16383))], None),
            &[400, 413],
        ),
        (
            "WebP that is longer than said",
            webp_of(&[(b"VP8L", &vp8l(8))], Some(4)),
            &[400],
        ),
        (
            "WebP of 4 GiB, it says",
            webp_of(&[(b"VP8L", &vp8l(8))], Some(u32::MAX)),
            &[200, 400],
        ),
        (
            "WebP, animated, on a canvas of 2^24",
            animation(1 << 24, 8),
            &[400, 413],
        ),
        (
            "WebP, animated, on a canvas of 16384",
            animation(1 << 14, 8),
            &[400, 413],
        ),
        (
            "WebP, animated, of a frame beyond its canvas",
            animation(8, 1 << 14),
            &[400, 413],
        ),
        (
            "PNG with an international text bomb",
            png_of(8, 8, &[(b"iTXt", &international), (b"IDAT", &pixels)]),
            &[200, 400],
        ),
        (
            "PNG with 1000 text bombs",
            png_of(8, 8, &texts),
            &[200, 400],
        ),
        (
            "PNG with a chunk of 2 GiB, it says",
            endless(b"zTXt"),
            &[400],
        ),
        (
            "PNG with a profile of 2 GiB, it says",
            endless(b"iCCP"),
            &[400],
        ),
        (
            "JPEG with the longest restart interval",
            jpeg_with(&restart(u16::MAX)),
            &[200],
        ),
        (
            "JPEG without the restarts that it announces",
            jpeg_with(&restart(1)),
            &[200, 400],
        ),
        (
            "JPEG with 100,000 restart intervals",
            jpeg_with(&restart(7).repeat(100_000)),
            &[200, 400],
        ),
        (
            "WebP of 65,536 groups of codes",
            made::webp_lossless(1, 65_536, 1),
            &[200],
        ),
        (
            "WebP of 65,536 groups of codes, all of them used",
            made::webp_lossless(1024, 65_536, 65_536),
            &[400],
        ),
        (
            "lossy WebP of the longest coefficients there are",
            made::webp_lossy(512, true),
            &[200],
        ),
        (
            "TIFF of strips that are one JPEG of 100 scans",
            made::tiff_of(
                (65_500, 1365),
                (7, 4, 2, 8),
                1,
                1,
                &made::jpeg_of(65_500, 1, 1, 100),
            ),
            &[400],
        ),
        (
            "JPEG of 100 refinements of 81 million pixels",
            made::jpeg_of(9000, 9000, 1, 100),
            &[400],
        ),
        (
            "PNG with a gibibyte behind its pixels",
            made::png_with_more(1 << 30),
            &[200],
        ),
        (
            "PNG with 1000 profiles",
            made::png_with_texts(b"iCCP", 1000),
            &[400],
        ),
        (
            "JPEG with 100,000 comments",
            jpeg_with(&comment),
            &[200, 400],
        ),
    ]
}

pub fn cases() -> Vec<Case> {
    let good = png(1, 2, 3);
    let bomb = zeros(64 << 20);
    let text = [b"a\0\0".as_slice(), &bomb].concat();
    let pixels = zeros(25 * 8);
    let scans = b"\xff\xda\0\x08\x01\x01\0\0\0\0\0".repeat(5000);
    let pictures: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("PNG of 65535 x 65535", png_of(65535, 65535, &[]), &[413]),
        ("JPEG of 65535 x 65535", jpeg(65535, 65535, &scans), &[413]),
        (
            "GIF of 65535 x 65535",
            gif(65535, 65535, b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;"),
            &[413],
        ),
        ("BMP of 65535 x 65535", bmp(65535, 65535), &[413]),
        ("WebP of 65535 x 65535", webp(65535, 65535), &[400, 413]),
        ("TIFF of 65535 x 65535", tiff(65535, 65535, 8, 0), &[413]),
        ("PNG of 0 x 8", png_of(0, 8, &[(b"IDAT", &pixels)]), &[400]),
        ("JPEG of 0 x 8", jpeg(0, 8, b""), &[400]),
        ("GIF of 0 x 0", gif(0, 0, b";"), &[400]),
        ("BMP of 0 x 8", bmp(0, 8), &[400]),
        ("BMP of the least height", bmp(8, i32::MIN), &[400, 413]),
        ("TIFF of 0 x 8", tiff(0, 8, 8, 0), &[400]),
        (
            "TIFF whose page follows itself",
            tiff(8, 8, 64, 8),
            &[200, 400],
        ),
        (
            "TIFF of endless strips",
            tiff(8, 8, u32::MAX, 0),
            &[200, 400],
        ),
        (
            "PNG that expands behind its pixels",
            png_of(8, 8, &[(b"IDAT", &bomb)]),
            &[200, 400],
        ),
        (
            "PNG with a text bomb",
            png_of(8, 8, &[(b"zTXt", &text), (b"IDAT", &pixels)]),
            &[200, 400],
        ),
        (
            "PNG with a profile bomb",
            png_of(8, 8, &[(b"iCCP", &text), (b"IDAT", &pixels)]),
            &[200, 400],
        ),
        (
            "PNG that has few of its pixels",
            png_of(8000, 8000, &[(b"IDAT", &pixels)]),
            &[400],
        ),
        ("PNG without pixels", png_of(8, 8, &[]), &[400]),
        ("JPEG of 5000 scans", jpeg(8, 8, &scans), &[400]),
        (
            "GIF that is a script",
            gif(8, 8, b"=1;alert(1)//<script>"),
            &[400],
        ),
        (
            "PNG that is a zip",
            [good.as_slice(), b"PK\x05\x06", &[0; 18]].concat(),
            &[200],
        ),
        ("zip", b"PK\x03\x04".to_vec(), &[400]),
        (
            "SVG",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
            &[415],
        ),
        (
            "HEIC",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\0".to_vec(),
            &[415],
        ),
        (
            "AVIF whose boxes promise more than its AV1 holds",
            include_bytes!("../../fixtures/avif/wrong_larger.avif").to_vec(),
            &[400],
        ),
        (
            "AVIF that says to be of 60000 x 60000 pixels",
            include_bytes!("../../fixtures/avif/wrong_huge.avif").to_vec(),
            &[413],
        ),
        (
            "AVIF that ends early",
            include_bytes!("../../fixtures/avif/wrong_cut.avif").to_vec(),
            &[400],
        ),
        (
            "AVIF grid of fewer tiles than it says",
            include_bytes!("../../fixtures/avif/wrong_grid.avif").to_vec(),
            &[400],
        ),
        (
            "AVIF of boxes alone",
            b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf\0\0\0\x0cmeta\0\0\0\0".to_vec(),
            &[400],
        ),
    ];
    pictures
        .into_iter()
        .chain(expanding())
        .map(|(name, bytes, statuses)| {
            case(
                name,
                Form::new().file("files", "a", bytes).post("/embed/images"),
                statuses,
            )
        })
        .collect()
}
