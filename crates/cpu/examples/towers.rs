//! Times both towers: `towers CHECKPOINT KERNEL [THREADS]`.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use siglip2_cpu::*;

struct File {
    bytes: Vec<u8>,
    tensors: HashMap<String, (Vec<usize>, usize, usize)>,
}

impl Source for File {
    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let (shape, start, end) = self.tensors.get(name)?;
        Some(Tensor {
            dtype: Dtype::F32,
            shape,
            bytes: &self.bytes[*start..*end],
        })
    }
}

/// Milliseconds of processor time that this process had: what a busy machine leaves right.
fn now() -> f64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 / 1e6
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap() + "/model.safetensors";
    let isas = arguments.next().unwrap();
    let threads = arguments.next().map_or(2, |t| t.parse().unwrap());
    let bytes = std::fs::read(path).unwrap();
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let (a, b) = info.data_offsets;
            (name, (info.shape.clone(), 8 + header + a, 8 + header + b))
        })
        .collect();
    let source = Arc::new(File { bytes, tensors });
    let encoder = EncoderShape {
        width: 768,
        hidden: 3072,
        layers: 12,
        heads: 12,
        activation: Activation::GeluTanh,
        epsilon: 1e-6,
    };
    let team = Team::new(threads);
    let mut first: Option<(Vec<f32>, Vec<f32>)> = None;
    for isa in isas.split(',') {
        let isa = Isa::named(isa).unwrap();
        let start = Instant::now();
        let vision = Vision::load(
            isa,
            &team,
            &*source,
            &VisionShape {
                encoder,
                patch: 16,
                positions: Positions::Square { side: 224 },
                normalization: normalization([0.5; 3], [0.5; 3]),
            },
        )
        .unwrap();
        let text = Text::load(
            isa,
            &team,
            source.clone(),
            &TextShape {
                encoder,
                vocabulary: 256_000,
                positions: 64,
                projection: 768,
            },
        )
        .unwrap();
        eprintln!(
            "{}: loaded in {:.2} s",
            isa.name(),
            start.elapsed().as_secs_f64()
        );
        let pixels: Vec<u8> = (0..3 * 224 * 224).map(|i| (i * 7 % 251) as u8).collect();
        let ids: Vec<i32> = (0..64).collect();
        if std::env::var_os("SERVE").is_some() {
            use std::io::{BufRead, Write};
            for line in std::io::stdin().lock().lines() {
                let line = line.unwrap();
                let (tower, batch) = line.split_once(' ').unwrap();
                let batch: usize = batch.trim().parse().unwrap();
                let mut out = vec![0.0; 768 * batch];
                let start = Instant::now();
                if tower == "image" {
                    vision
                        .run(&team, &vec![&pixels[..]; batch], &mut || (), &mut out)
                        .unwrap();
                } else {
                    text.run(&team, &vec![&ids[..]; batch], &mut || (), &mut out)
                        .unwrap();
                }
                println!("{:.3}", start.elapsed().as_secs_f64() * 1e3);
                std::io::stdout().flush().unwrap();
            }
            return;
        }
        for batch in [1, 8] {
            let mut out = vec![0.0; 768 * batch];
            let mut took = vec![];
            for _ in 0..(24 / batch).clamp(3, 9) {
                let start = now();
                vision
                    .run(&team, &vec![&pixels[..]; batch], &mut || (), &mut out)
                    .unwrap();
                took.push((now() - start) / batch as f64);
            }
            took.sort_by(f64::total_cmp);
            let mut words = vec![0.0; 768 * batch];
            let mut text_took = vec![];
            for _ in 0..(48 / batch).clamp(3, 15) {
                let start = now();
                text.run(&team, &vec![&ids[..]; batch], &mut || (), &mut words)
                    .unwrap();
                text_took.push((now() - start) / batch as f64);
            }
            text_took.sort_by(f64::total_cmp);
            println!(
                "batch {batch:>2}: image {:8.2} (best {:8.2})  text {:7.2} (best {:7.2}) ms a row",
                took[took.len() / 2],
                took[0],
                text_took[text_took.len() / 2],
                text_took[0]
            );
            let cosine = |a: &[f32], b: &[f32]| {
                let d = |a: &[f32], b: &[f32]| {
                    a.iter()
                        .zip(b)
                        .map(|(x, y)| (*x as f64) * (*y as f64))
                        .sum::<f64>()
                };
                d(a, b) / (d(a, a) * d(b, b)).sqrt()
            };
            match &first {
                None => first = Some((out[..768].to_vec(), words[..768].to_vec())),
                Some((a, b)) => {
                    if batch < 8 {
                        println!(
                            "  cosine to the first: {:.9} {:.9}",
                            cosine(a, &out[..768]),
                            cosine(b, &words[..768])
                        )
                    }
                }
            }
        }
    }
}
