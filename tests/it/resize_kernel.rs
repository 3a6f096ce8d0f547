//! What the resize kernel computes is what the CPU path computes, bit for bit: resize.cu is
//! compiled for the host and run on batches as the planner plans them.

mod host;

use crate::common::noise::{extremes, noise, processor};
use host::{Host, elements};
use serde_json::json;
use siglip2_embeddings::image::{Processor, RgbImage};
use siglip2_embeddings::tensorrt::kernel::{
    Cost, Element, MAX_SIDE, Plan, PlanError, Planner, SOURCE_ALIGN,
};

/// The binary16 numbers from 0 up, and their bits.
fn halves() -> Vec<(f32, u16)> {
    (0..0x7c00_u16)
        .map(|bits| {
            let (exponent, fraction) = (i32::from(bits >> 10), f32::from(bits & 0x3ff));
            let value = match exponent {
                0 => fraction * 2_f32.powi(-24),
                _ => (1024.0 + fraction) * 2_f32.powi(exponent - 25),
            };
            (value, bits)
        })
        .collect()
}

/// The binary16 number next to `value`, found by looking at its neighbours.
fn nearest_half(halves: &[(f32, u16)], value: f32) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = value.abs();
    let above = halves.partition_point(|(half, _)| *half < magnitude);
    let (upper, upper_bits) = halves[above];
    let Some((lower, lower_bits)) = above.checked_sub(1).map(|below| halves[below]) else {
        return sign | upper_bits;
    };
    // Differences of neighbours are exact in f64.
    let up = f64::from(upper) - f64::from(magnitude);
    let down = f64::from(magnitude) - f64::from(lower);
    let bits = if up < down || (up == down && upper_bits % 2 == 0) {
        upper_bits
    } else {
        lower_bits
    };
    sign | bits
}

/// What every byte of each channel becomes, as bits.
fn values(processor: &Processor, element: Element) -> Vec<[u32; 256]> {
    let halves = halves();
    let bits = |value: f32| match element {
        Element::Fp16 => nearest_half(&halves, value).into(),
        Element::Fp32 => value.to_bits(),
    };
    let table = processor.normalization();
    table.iter().map(|values| values.map(bits)).collect()
}

/// Plans a batch in a buffer of exactly its length, and lays its pictures out.
fn planned(planner: &mut Planner, images: &[RgbImage]) -> (Plan, Vec<u8>, Vec<u8>) {
    let sizes: Vec<_> = images
        .iter()
        .map(|image| (image.width(), image.height()))
        .collect();
    let mut cost = Cost::default();
    for &(width, height) in &sizes {
        cost += planner.cost(width, height).unwrap();
    }
    let mut table = vec![0xee; planner.fixed_table_bytes() + cost.table_bytes];
    let plan = planner.plan_into(&sizes, &mut table).unwrap();
    assert_eq!(plan.source_bytes, cost.source_bytes);
    assert_eq!(plan.scratch_bytes, cost.scratch_bytes);
    assert!(plan.table_bytes <= table.len());
    assert!(table.len() <= planner.largest_table_bytes(images.len()));
    table.truncate(plan.table_bytes);

    // What lies between the pictures does not matter.
    let mut source = noise(plan.source_bytes as u32, 1, 3).pixels()[..plan.source_bytes].to_vec();
    for (image, &at) in images.iter().zip(&plan.offsets) {
        assert!(at.is_multiple_of(SOURCE_ALIGN));
        source[at..at + image.pixels().len()].copy_from_slice(image.pixels());
    }
    (plan, source, table)
}

/// Runs a batch and compares each picture with what the CPU makes of it.
fn check(
    host: &mut Host,
    processor: &Processor,
    (planner, element): (&mut Planner, Element),
    images: &[RgbImage],
) {
    let (plan, source, table) = planned(planner, images);
    let out = elements(element, &host.run(&plan, &source, &table));
    let pixels = processor.size() as usize * processor.size() as usize;
    let values = values(processor, element);
    for (image, planes) in images.iter().zip(out.chunks_exact(pixels * 3)) {
        let square = processor.resize(image).unwrap();
        for (channel, plane) in planes.chunks_exact(pixels).enumerate() {
            let expected = square.pixels().as_chunks::<3>().0.iter();
            let wrong = expected
                .zip(plane)
                .position(|(pixel, got)| values[channel][usize::from(pixel[channel])] != *got);
            assert_eq!(
                wrong,
                None,
                "channel {channel} of {image:?} to {}, {:?}, {element:?}",
                processor.size(),
                processor.filter()
            );
        }
    }
}

/// Widths and heights around everything that the kernel counts in.
fn sizes(size: u32) -> Vec<(u32, u32)> {
    let mut sizes = vec![
        (1, 1),
        (1, 7),
        (7, 1),
        (2, 2),
        (3, 5),
        (5, 3),
        (13, 300),
        (300, 13),
        (321, 241),
        (767, 9),
        (768, 8),
        (769, 7),
        (1537, 10),
        (4000, 3),
        (3, 4000),
        (65_535, 2),
        (2, 65_535),
        (size, 1),
        (1, size),
    ];
    for side in [size - 1, size, size + 1] {
        for other in [size - 1, size, size + 1, 2 * size + 1] {
            sizes.push((side, other));
        }
    }
    sizes
}

#[test]
fn every_size_filter_and_type_is_the_cpus_bit_for_bit() {
    let mut host = Host::start();
    for (resample, size, element) in [
        (2, 224, Element::Fp16),
        (2, 224, Element::Fp32),
        (3, 224, Element::Fp16),
        (1, 224, Element::Fp16),
        (0, 224, Element::Fp16),
        (2, 64, Element::Fp16),
        (1, 64, Element::Fp32),
        // No whole words in a row.
        (2, 30, Element::Fp16),
        (3, 30, Element::Fp32),
        (1, 33, Element::Fp16),
        (0, 31, Element::Fp32),
        (2, 384, Element::Fp16),
    ] {
        // Channels must not be taken for each other.
        let config = json!({"resample": resample, "image_mean": [0.1, 0.5, 0.48], "image_std": [0.3, 0.5, 0.27]});
        let processor = processor(size, config).unwrap();
        let mut planner = Planner::new(&processor, element);
        let images: Vec<_> = sizes(size)
            .into_iter()
            .enumerate()
            .map(|(seed, (width, height))| match seed % 2 {
                0 => noise(width, height, seed as u64),
                _ => extremes(width, height, seed as u64),
            })
            .collect();
        check(&mut host, &processor, (&mut planner, element), &images);
    }
}

#[test]
fn a_photo_alone_and_any_company() {
    let mut host = Host::start();
    let processor = processor(224, json!({"resample": 2})).unwrap();
    let mut planner = Planner::new(&processor, Element::Fp16);
    let photo = extremes(1920, 1280, 1);
    let ready: Vec<_> = (0..64).map(|seed| noise(224, 224, seed)).collect();
    let mixed: Vec<_> = ready[..20]
        .iter()
        .cloned()
        .chain([noise(640, 480, 9), noise(224, 500, 9), noise(500, 224, 9)])
        .chain(ready[20..40].iter().cloned())
        .collect();
    let alike: Vec<_> = (0..5).map(|seed| noise(640, 480, seed)).collect();
    let batches = [
        std::slice::from_ref(&photo),
        &ready,
        &mixed,
        &alike,
        &[noise(640, 480, 2), photo.clone(), noise(224, 224, 2)],
        &[noise(224, 224, 2)],
    ];
    for images in batches {
        check(&mut host, &processor, (&mut planner, Element::Fp16), images);
    }
}

#[test]
fn a_picture_at_the_end_of_the_buffer_is_not_read_beyond_it() {
    let mut host = Host::start();
    for (resample, size) in [(0, 64), (1, 64), (2, 64), (3, 64), (1, 30), (2, 30)] {
        let processor = processor(size, json!({"resample": resample})).unwrap();
        let mut planner = Planner::new(&processor, Element::Fp16);
        for (width, height) in [
            // 240 bytes, so that nothing but the slack is behind them.
            (80, 1),
            (40, 2),
            (16, 5),
            (5, 16),
            (2, 40),
            (1, 80),
            // Windows of thousands of pixels, of which the last are cut off.
            (65_535, 1),
            (65_535, 2),
            (20_001, 3),
        ] {
            let image = extremes(width, height, 5);
            let planner = (&mut planner, Element::Fp16);
            check(&mut host, &processor, planner, &[image]);
        }
    }
}

#[test]
fn pictures_of_the_models_square_take_one_launch_and_no_scratch() {
    let processor = processor(224, json!({})).unwrap();
    let mut planner = Planner::new(&processor, Element::Fp16);
    let mut table = vec![0; planner.fixed_table_bytes() + 2 * 44];
    let plan = planner
        .plan_into(&[(224, 224), (224, 224)], &mut table)
        .unwrap();
    assert_eq!(plan.launches().count(), 1);
    assert_eq!(plan.scratch_bytes, 0);
    // A width pass is a launch more, of which the first picture has no part.
    let mut table = vec![0; planner.largest_table_bytes(1)];
    let alone = planner.plan_into(&[(640, 480)], &mut table).unwrap();
    let both = planner
        .plan_into(&[(224, 224), (640, 480)], &mut table)
        .unwrap();
    assert_eq!(both.launches().next(), alone.launches().next());
}

#[test]
fn pictures_of_one_size_share_their_coefficients() {
    let processor = processor(224, json!({})).unwrap();
    let mut planner = Planner::new(&processor, Element::Fp16);
    let mut table = vec![0; 1 << 20];
    let mut bytes = |pictures: &[(u32, u32)]| {
        let plan = planner.plan_into(pictures, &mut table).unwrap();
        plan.table_bytes
    };
    let one = bytes(&[(640, 480)]);
    assert_eq!(bytes(&[(640, 480); 9]), one + 8 * 44);
    assert_eq!(bytes(&[(640, 480), (640, 224)]), one + 44);
}

#[test]
fn what_does_not_fit_is_refused() {
    let processor = processor(224, json!({})).unwrap();
    let mut planner = Planner::new(&processor, Element::Fp16);
    let mut table = vec![0; planner.largest_table_bytes(2)];
    for (width, height) in [(0, 5), (5, 0), (MAX_SIDE + 1, 5), (5, MAX_SIDE + 1)] {
        let error = PlanError::Side { width, height };
        assert_eq!(planner.cost(width, height), Err(error.clone()));
        let refused = planner.plan_into(&[(5, 5), (width, height)], &mut table);
        assert_eq!(refused, Err(error));
    }
    let empty = planner.plan_into(&[], &mut table);
    assert_eq!(empty, Err(PlanError::Count(0)));
    let crowd = planner.plan_into(&vec![(224, 224); 65_536], &mut table);
    assert_eq!(crowd, Err(PlanError::Count(65_536)));

    let sizes = [(MAX_SIDE, MAX_SIDE), (MAX_SIDE - 1, MAX_SIDE - 1)];
    let plan = planner.plan_into(&sizes, &mut table).unwrap();
    let short = plan.table_bytes - 1;
    assert_eq!(
        planner.plan_into(&sizes, &mut table[..short]),
        Err(PlanError::TableFull {
            needed: plan.table_bytes,
            available: short
        })
    );
    // Nothing is cut to 32 bits: 3 x 65,535 x 65,535 bytes are 12.9 GB.
    let first = 3 * u64::from(MAX_SIDE) * u64::from(MAX_SIDE);
    assert!(plan.offsets[1] as u64 >= first);
    assert_eq!(plan.source_bytes as u64 / first, 1);
}

#[test]
fn an_unknown_entry_point_is_refused() {
    let mut host = Host::start();
    assert_eq!(host.run_unknown(b"resize_height"), 1);
}
