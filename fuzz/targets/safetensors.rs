//! safetensors files: every tensor that is found lies within the file, behind its header,
//! apart from all others, and has as many numbers as its shape says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use siglip2_embeddings::checkpoint::DType;
use siglip2_embeddings::checkpoint::fuzzing::{floats, tensors};

fuzz_target!(|data: &[u8]| {
    let Ok(mut tensors) = tensors(data) else {
        return;
    };
    tensors.sort_by_key(|(_, tensor)| (tensor.offset, tensor.length));
    let header = data
        .first_chunk()
        .map_or(0, |length| u64::from_le_bytes(*length));
    let mut end = 8 + header as usize;
    for (name, tensor) in &tensors {
        assert!(
            tensor.offset >= end,
            "{name:?} begins at {} in another",
            tensor.offset
        );
        end = tensor.offset + tensor.length;
        assert!(
            end <= data.len(),
            "{name:?} ends at {end} of {}",
            data.len()
        );
        let size = match tensor.dtype {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
        };
        let numbers = floats(data, tensor).len();
        assert_eq!(numbers * size, tensor.length);
        assert_eq!(numbers, tensor.shape.iter().product::<usize>());
    }
});
