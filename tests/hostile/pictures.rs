//! Pictures that lie about their size, expand, or are something else as well.

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

use super::case::{Case, case};
use super::common::{Form, png};

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
    ];
    pictures
        .into_iter()
        .map(|(name, bytes, statuses)| {
            case(
                name,
                Form::new().file("files", "a", bytes).post("/embed/images"),
                statuses,
            )
        })
        .collect()
}
