//! Memory that is lent for pixels may have been another picture's: no byte of it is left as it was.

use siglip2_image::{ImageLimits, PixelMemory, Stop, decode_into};

use crate::fixtures::{fixtures, repository};

struct Filled(Vec<u8>);

impl PixelMemory for Filled {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[test]
fn every_pixel_is_written() {
    let avif = std::fs::read_dir(repository("tests/fixtures/avif")).unwrap();
    let avif = avif.map(|entry| {
        let path = entry.unwrap().path();
        (path.display().to_string(), std::fs::read(&path).unwrap())
    });
    let limits = ImageLimits::default();
    let mut decoded = 0;
    for (name, file) in fixtures().chain(avif) {
        let Ok(header) = siglip2_image::inspect(&file, &limits) else {
            continue;
        };
        let [dark, light] = [0, 0xff].map(|fill| {
            let size = header.width as usize * header.height as usize * 3;
            let memory = Box::new(Filled(vec![fill; size]));
            decode_into(&file, &limits, Some(memory), &Stop::never())
        });
        let (Ok(dark), Ok(light)) = (dark, light) else {
            continue;
        };
        assert!(dark.pixels() == light.pixels(), "{name}");
        decoded += 1;
    }
    assert!(decoded > 400, "{decoded}");
}
