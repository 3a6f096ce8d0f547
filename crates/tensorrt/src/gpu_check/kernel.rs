//! Compares the resize kernel with the CPU's, and measures the copies.

use std::error::Error;

use crate::kernel::Element;
use crate::run::probe::{Probe, pictures};
use siglip2_image::{Processor, RgbImage};

/// Pictures in which every pixel matters.
fn noise(width: u32, height: u32, seed: u64) -> Result<RgbImage, Box<dyn Error>> {
    let mut state = seed;
    let pixels = (0..width as usize * height as usize * 3).map(|_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    });
    Ok(RgbImage::new(width, height, pixels.collect()).ok_or("a picture without pixels")?)
}

/// The sides to try: the model's own, its neighbours, small, odd and large ones.
fn sizes(side: u32) -> Vec<(u32, u32)> {
    let mut sizes = vec![
        (1, 1),
        (1, 4000),
        (4000, 1),
        (3, 2),
        (1920, 1280),
        (1280, 1920),
        (4000, 3000),
        (65_535, 2),
        (2, 65_535),
    ];
    for width in [side - 1, side, side + 1, 2 * side, 333] {
        for height in [side - 1, side, side + 1, 97, 640] {
            sizes.push((width, height));
        }
    }
    sizes
}

/// Whether the kernel gives the CPU's bytes for pictures of all shapes; prints the differences.
pub fn equals_cpu(
    probe: &mut Probe,
    processor: &Processor,
    element: Element,
) -> Result<bool, Box<dyn Error>> {
    let sizes = sizes(processor.size());
    let mut equal = 0;
    // Each picture alone, and in ragged batches of 4.
    let batches = sizes.chunks(1).chain(sizes.chunks(4));
    let mut tried = 0;
    for (number, batch) in batches.enumerate() {
        let images = batch
            .iter()
            .map(|&(width, height)| noise(width, height, number as u64))
            .collect::<Result<Vec<_>, _>>()?;
        let expected = images
            .iter()
            .map(|image| Ok(tensor(&processor.resize(image)?, processor, element)))
            .collect::<Result<Vec<_>, Box<dyn Error>>>()?
            .concat();
        let (found, _) = probe.resize(&pictures(images))?;
        tried += 1;
        if found == expected {
            equal += 1;
        } else {
            println!("- **resize differs** for {batch:?}");
        }
    }
    println!("- resize kernel: {equal} of {tried} batches equal to the CPU, bit for bit");
    Ok(equal == tried)
}

/// The tower's input as the CPU computes it: planar channels, mapped by the processor's table.
fn tensor(square: &RgbImage, processor: &Processor, element: Element) -> Vec<u8> {
    let mut values = Vec::with_capacity(square.pixels().len());
    for (channel, table) in processor.normalization().iter().enumerate() {
        let bytes = square.pixels().iter().skip(channel).step_by(3);
        values.extend(bytes.map(|&byte| table[usize::from(byte)]));
    }
    element.encode(&values)
}

/// Prints how fast pictures reach the device, and the tower's input.
pub fn copies(probe: &mut Probe, max_batch: usize) -> Result<(), Box<dyn Error>> {
    probe.upload_rate(1)?;
    let rate = probe.upload_rate(50)?;
    println!("- uploads from pinned memory: {:.1} GB/s", rate / 1e9);
    for (width, height) in [(224, 224), (640, 480), (1920, 1280)] {
        let batch = pictures(vec![noise(width, height, 1)?; max_batch]);
        probe.resize(&batch)?;
        let (_, took) = probe.resize(&batch)?;
        println!(
            "- upload and resize of {max_batch} pictures of {width} x {height}, unpinned: {:.2} ms",
            took.as_secs_f64() * 1e3
        );
    }
    Ok(())
}
