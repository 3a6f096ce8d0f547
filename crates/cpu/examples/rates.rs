//! Rates of products, one thread: GFLOP/s by kernel and shape.

use siglip2_cpu::kernel::{Avx2Fp32, Avx512Bf16, Avx512Fp32, Fp32, Kernel};
use siglip2_cpu::matrix::{Operand, Packed};
use siglip2_cpu::product::{product, scratch};
use siglip2_cpu::simd::{Avx2, Avx512};

fn now() -> f64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

fn rate<K: Kernel>(kernel: K, name: &str, m: usize, k: usize, n: usize) {
    let layout = K::LAYOUT;
    let mut words = vec![0u32; layout.area(m, k)];
    let mut left = Operand::<K>::new(&mut words, m, k);
    let row = vec![1e-3f32; layout.padded(k)];
    for r in 0..m {
        left.put(kernel, r, 0, &row);
    }
    let packed = Packed::<K>::zeroed(k, n);
    let mut sums = vec![0f32; scratch::<K>(m)];
    let mut out = vec![0f32; m * (n + 64)];
    let runs = (3e9 / (2.0 * (m * k * n) as f64)).ceil() as usize;
    let mut best = f64::MAX;
    for _ in 0..9 {
        let start = now();
        for _ in 0..runs {
            let right = packed.view();
            product(
                kernel,
                left.view(),
                0..m,
                right,
                0..right.depth(),
                0..right.count(),
                &mut sums,
                |r, c, s| {
                    out[r * (n + 64) + c..][..s.len()].copy_from_slice(s);
                },
            );
        }
        best = best.min((now() - start) / runs as f64);
    }
    println!(
        "{name:<12} {m:>4} x {k:>4} x {n:>4}: {:7.1} GFLOP/s",
        2.0 * (m * k * n) as f64 / best / 1e9
    );
}

fn main() {
    let a512 = Fp32::new(Avx512::detect().unwrap());
    for m in 1..=14 {
        rate::<Avx512Fp32>(a512, "avx512", m, 768, 768);
    }
    for (m, k, n) in [
        (98, 768, 768),
        (98, 768, 3072),
        (196, 768, 2304),
        (64, 768, 768),
        (32, 768, 3072),
        (8, 768, 3072),
        (1, 768, 3072),
    ] {
        rate::<Avx512Fp32>(a512, "avx512", m, k, n);
        rate::<Avx2Fp32>(Fp32::new(Avx2::detect().unwrap()), "avx2", m, k, n);
        rate::<Avx512Bf16>(Avx512Bf16::detect().unwrap(), "avx512bf16", m, k, n);
    }
}
