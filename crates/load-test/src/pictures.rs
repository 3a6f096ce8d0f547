//! The images to send: those of a folder, or drawn ones of several kinds.
//!
//! Drawn images differ in kind as well as in detail, because their decoding costs differ:
//! a gradient compresses to almost nothing, and noise hardly at all.
//!
//! A service may cache the files it has seen. So a file can be sent with a *mark*, a
//! comment of a few bytes: different bytes but the same pixels, at no cost on either side.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use rayon::prelude::*;

use crate::error::Error;
use crate::options::DrawnFormat;
use crate::random::Random;

/// Larger files in a folder are not images that anybody would send.
const LARGEST_FILE: u64 = 256 << 20;

/// An image, encoded.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its filename in forms.
    pub name: String,
    /// The content type of its part.
    pub content_type: &'static str,
    /// The file.
    pub bytes: Bytes,
}

/// Where the first segment of a JPEG, or the first chunk of a PNG after its header, begins.
const JPEG_START: &[u8] = b"\xff\xd8";
const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n";
const PNG_HEADER: usize = 33;

impl Picture {
    /// Appends the file, with a mark if there is one: a comment in JPEG, PNG and GIF files,
    /// and in other formats bytes after the end, which readers ignore. A mark of more than
    /// 255 bytes is truncated.
    pub fn write(&self, out: &mut Vec<u8>, mark: Option<&str>) {
        let Some(mark) = mark else {
            out.extend_from_slice(&self.bytes);
            return;
        };
        let text = mark.as_bytes();
        let text = text.get(..255).unwrap_or(text);
        let short = text.len() as u8;
        let (at, comment) = if self.bytes.starts_with(JPEG_START) {
            let length = (u16::from(short) + 2).to_be_bytes();
            (JPEG_START.len(), [&b"\xff\xfe"[..], &length, text].concat())
        } else if self.bytes.starts_with(PNG_START) && self.bytes.len() > PNG_HEADER {
            let data = [&b"tEXtComment\0"[..], text].concat();
            let length = (data.len() as u32 - 4).to_be_bytes();
            let crc = crc32fast::hash(&data).to_be_bytes();
            (PNG_HEADER, [&length, &data[..], &crc].concat())
        } else if self.bytes.starts_with(b"GIF8") && self.bytes.ends_with(b";") {
            let at = self.bytes.len() - 1;
            (at, [&b"!\xfe"[..], &[short], text, &[0]].concat())
        } else {
            (self.bytes.len(), text.to_vec())
        };
        let (before, behind) = self.bytes.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(&comment);
        out.extend_from_slice(behind);
    }
}

fn content_type(name: &str) -> Option<&'static str> {
    let extension = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
    Some(match extension.as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "bmp" => "image/bmp",
        "tif" | "tiff" => "image/tiff",
        _ => return None,
    })
}

/// Reads the images of a folder, in the order of their names.
pub fn of_folder(folder: &Path) -> Result<Vec<Picture>, Error> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::unreadable(folder))? {
        paths.push(entry.map_err(Error::unreadable(folder))?.path());
    }
    paths.sort();
    let mut pictures = Vec::new();
    for path in paths {
        // A quote or a line break would end the filename in the head of its part.
        let name: String = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_control() && !matches!(c, '"' | '\\'))
            .collect();
        let Some(content_type) = content_type(&name) else {
            continue;
        };
        let metadata = fs::metadata(&path).map_err(Error::unreadable(&path))?;
        if metadata.len() > LARGEST_FILE {
            return Err(Error::LargeFile(path));
        }
        pictures.push(Picture {
            name,
            content_type,
            bytes: fs::read(&path).map_err(Error::unreadable(&path))?.into(),
        });
    }
    if pictures.is_empty() {
        return Err(Error::NoImages(folder.to_owned()));
    }
    Ok(pictures)
}

/// Draws this many different images.
pub fn drawn(
    number: u32,
    sizes: &[(u32, u32)],
    format: DrawnFormat,
    seed: u64,
) -> Result<Vec<Picture>, Error> {
    (0..number)
        .into_par_iter()
        .map(|n| {
            let size = sizes
                .get(n as usize % sizes.len().max(1))
                .copied()
                .unwrap_or((224, 224));
            let pixels = draw(n, size, &mut Random::new(seed, u64::from(n)));
            let (extension, content_type, bytes) = match format {
                DrawnFormat::Jpeg => ("jpg", "image/jpeg", jpeg(&pixels, size)),
                DrawnFormat::Png => ("png", "image/png", png(&pixels, size)),
            };
            Ok(Picture {
                name: format!("drawn-{n}.{extension}"),
                content_type,
                bytes: bytes.map_err(Error::Drawing)?.into(),
            })
        })
        .collect()
}

fn draw(n: u32, (width, height): (u32, u32), random: &mut Random) -> Vec<u8> {
    let mut colour = || [(); 3].map(|()| random.below(256) as f64);
    let (from, to, third) = (colour(), colour(), colour());
    let angle = random.unit() * std::f64::consts::TAU;
    let (sin, cos) = angle.sin_cos();
    let shapes: Vec<(f64, f64, f64, bool, [f64; 3])> = (0..6 + random.below(10))
        .map(|_| {
            (
                random.unit(),
                random.unit(),
                0.05 + random.unit() * 0.2,
                random.below(2) == 0,
                [(); 3].map(|()| random.below(256) as f64),
            )
        })
        .collect();
    let stripes = 4.0 + random.unit() * 40.0;
    let grain = 10.0 + random.unit() * 60.0;
    let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
    for row in 0..height {
        for column in 0..width {
            let x = f64::from(column) / f64::from(width);
            let y = f64::from(row) / f64::from(height);
            let along = ((x - 0.5) * cos + (y - 0.5) * sin + 0.71) / 1.42;
            let blend = |share: f64| [0, 1, 2].map(|i| from[i] + (to[i] - from[i]) * share);
            let pixel = match n % 4 {
                0 => blend(along),
                1 => shapes
                    .iter()
                    .rev()
                    .find(|(cx, cy, r, round, _)| {
                        let (dx, dy) = ((x - cx).abs(), (y - cy).abs());
                        if *round {
                            dx * dx + dy * dy < r * r
                        } else {
                            dx.max(dy) < *r
                        }
                    })
                    .map_or_else(|| blend(along * 0.3), |shape| shape.4),
                2 => {
                    let base = blend(along);
                    base.map(|channel| channel + (random.unit() - 0.5) * 2.0 * grain)
                }
                _ if (along * stripes).fract() < 0.4 => third,
                _ => blend(1.0 - y),
            };
            pixels.extend(pixel.map(|channel| channel.clamp(0.0, 255.0) as u8));
        }
    }
    pixels
}

/// A file, or whatever its encoder says.
type Encoded = Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>;

fn jpeg(pixels: &[u8], (width, height): (u32, u32)) -> Encoded {
    let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    encoder.set_fastest_defaults();
    encoder.set_size(width as usize, height as usize);
    encoder.set_quality(85.0);
    let mut encoder = encoder.start_compress(Vec::new())?;
    encoder.write_scanlines(pixels)?;
    Ok(encoder.finish()?)
}

fn png(pixels: &[u8], (width, height): (u32, u32)) -> Encoded {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_images_are_all_different_and_the_same_on_each_run() {
        let draw = |format| drawn(12, &[(40, 30), (20, 20)], format, 7).expect("drawn");
        for format in [DrawnFormat::Jpeg, DrawnFormat::Png] {
            let pictures = draw(format);
            for (n, picture) in pictures.iter().enumerate() {
                assert_eq!(picture.bytes, draw(format)[n].bytes);
                assert!(
                    pictures[..n]
                        .iter()
                        .all(|other| other.bytes != picture.bytes)
                );
            }
        }
    }

    #[test]
    fn a_mark_changes_the_file_and_not_the_picture() {
        let marked = |picture: &Picture, mark: &str| {
            let mut file = Vec::new();
            picture.write(&mut file, Some(mark));
            file
        };
        let pixels = |file: &[u8]| {
            let decoder = mozjpeg::Decompress::new_mem(file).expect("a JPEG");
            let mut image = decoder.rgb().expect("RGB");
            image.read_scanlines::<[u8; 3]>().expect("pixels")
        };
        let [jpeg] = &drawn(1, &[(40, 30)], DrawnFormat::Jpeg, 7).expect("drawn")[..] else {
            panic!("one picture");
        };
        let (one, two) = (marked(jpeg, "seed-1"), marked(jpeg, "seed-2"));
        assert_ne!(one, two);
        assert_eq!(pixels(&one), pixels(&jpeg.bytes));
        assert_eq!(pixels(&two), pixels(&jpeg.bytes));

        let [png] = &drawn(1, &[(40, 30)], DrawnFormat::Png, 7).expect("drawn")[..] else {
            panic!("one picture");
        };
        let read = |file: Vec<u8>| {
            let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
            // Every chunk is read, and its sum is right.
            decoder.set_ignore_text_chunk(false);
            let mut reader = decoder.read_info().expect("a PNG");
            let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
            reader.next_frame(&mut pixels).expect("pixels");
            let text = &reader.info().uncompressed_latin1_text;
            (
                pixels,
                text.iter()
                    .map(|text| text.text.clone())
                    .collect::<Vec<_>>(),
            )
        };
        let (plain, none) = read(png.bytes.to_vec());
        assert_eq!(none, Vec::<String>::new());
        assert_eq!(
            read(marked(png, "seed-1")),
            (plain, vec!["seed-1".to_owned()])
        );

        let named = |bytes: &'static [u8]| Picture {
            name: "x".to_owned(),
            content_type: "image/x",
            bytes: Bytes::from_static(bytes),
        };
        assert_eq!(
            marked(&named(b"GIF89a,,;"), "ab"),
            b"GIF89a,,!\xfe\x02ab\0;"
        );
        assert_eq!(marked(&named(b"BM...."), "ab"), b"BM....ab");
    }

    #[test]
    fn a_folder_without_images_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("notes.txt"), "x").expect("written");
        let error = of_folder(folder.path()).expect_err("no image");
        assert!(matches!(error, Error::NoImages(_)), "{error}");
        fs::write(folder.path().join("a\"b.PNG"), "x").expect("written");
        let pictures = of_folder(folder.path()).expect("one");
        assert_eq!((pictures[0].name.as_str(), pictures.len()), ("ab.PNG", 1));
    }
}
