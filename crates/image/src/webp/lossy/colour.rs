//! From luma and chroma to RGB, in the arithmetic of libwebp.

/// libwebp's "fancy" upsampling (src/dsp/upsampling.c): each sample is weighted 9, 3, 3
/// and 1 with its neighbours, towards the nearer row and column, in two rounded steps.
/// `out` has two samples for each of `near` and `far`.
pub(super) fn upsample(near: &[u8], far: &[u8], out: &mut [u8]) {
    let mut pairs = near
        .iter()
        .zip(far)
        .map(|(&n, &f)| (u32::from(n), u32::from(f)));
    let (Some(mut left), [first, rest @ ..]) = (pairs.next(), out) else {
        return;
    };
    let edge = |(near, far): (u32, u32)| ((3 * near + far + 2) >> 2) as u8;
    *first = edge(left);
    let (two, last) = rest.as_chunks_mut::<2>();
    for (two, right) in two.iter_mut().zip(pairs) {
        let sum = left.0 + right.0 + left.1 + right.1 + 8;
        // Of the two diagonals, the one through the far left and through the far right.
        let far_left = (sum + 2 * (right.0 + left.1)) >> 3;
        let far_right = (sum + 2 * (left.0 + right.1)) >> 3;
        *two = [
            ((far_left + left.0) >> 1) as u8,
            ((far_right + right.0) >> 1) as u8,
        ];
        left = right;
    }
    if let [last] = last {
        *last = edge(left);
    }
}

/// libwebp's YUV to RGB (src/dsp/yuv.h): 14 bits behind the point, of which 8 are dropped
/// at once.
pub(super) fn to_rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let high = |value: u8, factor: i32| (i32::from(value) * factor) >> 8;
    let clip = |value: i32| (value >> 6).clamp(0, 255) as u8;
    let luma = high(y, 19_077);
    [
        clip(luma + high(v, 26_149) - 14_234),
        clip(luma - high(u, 6_419) - high(v, 13_320) + 8_708),
        clip(luma + high(u, 33_050) - 17_685),
    ]
}
