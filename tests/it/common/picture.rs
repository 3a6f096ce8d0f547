//! Pictures, written without an encoder.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// `png(at, 20, 30)` in base64.
pub fn encoded(at: u8) -> String {
    STANDARD.encode(png(at, 20, 30))
}

/// The same as a data URI.
pub fn uri(at: u8) -> String {
    format!("data:image/png;base64,{}", encoded(at))
}

/// A small PNG of one color.
pub fn png(red: u8, green: u8, blue: u8) -> Vec<u8> {
    const SIDE: u8 = 8;
    let mut line = vec![0];
    for _ in 0..SIDE {
        line.extend([red, green, blue]);
    }
    let pixels = line.repeat(usize::from(SIDE));
    let length = pixels.len() as u16;
    // One stored block of deflate.
    let mut data = vec![0x78, 0x01, 1];
    data.extend(length.to_le_bytes());
    data.extend((!length).to_le_bytes());
    data.extend(&pixels);
    data.extend(adler32(&pixels).to_be_bytes());

    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [0, 0, 0, SIDE, 0, 0, 0, SIDE, 8, 2, 0, 0, 0];
    for (kind, data) in [
        (b"IHDR", header.as_slice()),
        (b"IDAT", &data),
        (b"IEND", &[]),
    ] {
        chunk(&mut bytes, kind, data);
    }
    bytes
}

/// The same with another width in its header, which is then the only true word in it.
pub fn png_that_claims(width: u32) -> Vec<u8> {
    let mut bytes = png(1, 2, 3);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    let sum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn chunk(bytes: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    bytes.extend((data.len() as u32).to_be_bytes());
    let start = bytes.len();
    bytes.extend(kind);
    bytes.extend(data);
    let sum = crc32(&bytes[start..]);
    bytes.extend(sum.to_be_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    b << 16 | a
}
