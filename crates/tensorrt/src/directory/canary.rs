//! Fixed inputs and the vectors expected for them: `canary.safetensors`.
//!
//! FP16 engines of SigLIP are known to give wrong vectors without an error, on some GPUs only.
//! So an engine is shipped with the vectors of the FP32 CPU engine, and whatever runs the
//! engine compares its own vectors with them.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::Manifest;
use siglip2_image::RgbImage;

/// A picture and texts, and their vectors as the CPU engine computes them in FP32: pooled
/// output, not normalized.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    /// The picture, whose size is not the model's.
    pub image: RgbImage,
    /// The texts, as token ids.
    pub texts: Vec<Vec<i32>>,
    /// The picture's vector.
    pub image_embedding: Vec<f32>,
    /// The texts' vectors, in the order of the texts.
    pub text_embeddings: Vec<Vec<f32>>,
}

impl Canary {
    /// The bytes of a `canary.safetensors`.
    ///
    /// # Errors
    ///
    /// A sentence, when the texts or vectors differ in length.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let image = &self.image;
        let ids: Vec<u8> = self
            .texts
            .iter()
            .flatten()
            .flat_map(|id| id.to_le_bytes())
            .collect();
        let bytes = |floats: &mut dyn Iterator<Item = &f32>| -> Vec<u8> {
            floats.flat_map(|value| value.to_le_bytes()).collect()
        };
        let of_image = bytes(&mut self.image_embedding.iter());
        let of_texts = bytes(&mut self.text_embeddings.iter().flatten());

        let dimensions = self.image_embedding.len();
        let tokens = self.texts.first().map_or(0, Vec::len);
        let view = |dtype, shape: &[usize], data| {
            TensorView::new(dtype, shape.to_vec(), data).map_err(|error| error.to_string())
        };
        let tensors = [
            (
                "image",
                view(
                    Dtype::U8,
                    &[image.height() as usize, image.width() as usize, 3],
                    image.pixels(),
                )?,
            ),
            (
                "input_ids",
                view(Dtype::I32, &[self.texts.len(), tokens], &ids)?,
            ),
            (
                "image_embedding",
                view(Dtype::F32, &[1, dimensions], &of_image)?,
            ),
            (
                "text_embedding",
                view(Dtype::F32, &[self.texts.len(), dimensions], &of_texts)?,
            ),
        ];
        safetensors::serialize(tensors, None).map_err(|error| error.to_string())
    }

    /// Reads what [`Canary::encode`] wrote for the model that the manifest describes.
    ///
    /// # Errors
    ///
    /// A sentence, when a tensor is missing, has another shape, or holds a value that is not
    /// finite.
    pub fn decode(bytes: &[u8], manifest: &Manifest) -> Result<Self, String> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|error| format!("it is not a safetensors file ({error})"))?;
        let get = |name: &str, dtype: Dtype| {
            let tensor = tensors
                .tensor(name)
                .map_err(|_| format!("it has no tensor {name:?}"))?;
            if tensor.dtype() == dtype {
                Ok(tensor)
            } else {
                Err(format!("its tensor {name:?} is {:?}", tensor.dtype()))
            }
        };
        let misshapen = |name: &str, shape: &[usize]| {
            format!("its tensor {name:?} has shape {shape:?}, which does not fit the manifest")
        };
        let numbers = |name: &str, dtype| -> Result<(Vec<[u8; 4]>, usize, usize), String> {
            let tensor = get(name, dtype)?;
            let &[rows, columns] = tensor.shape() else {
                return Err(misshapen(name, tensor.shape()));
            };
            let (numbers, _) = tensor.data().as_chunks();
            Ok((numbers.to_vec(), rows, columns))
        };
        let vectors = |name: &str, rows_wanted: usize| -> Result<Vec<Vec<f32>>, String> {
            let (numbers, rows, columns) = numbers(name, Dtype::F32)?;
            if (rows, columns) != (rows_wanted, manifest.dimensions) {
                return Err(misshapen(name, &[rows, columns]));
            }
            let floats: Vec<f32> = numbers.into_iter().map(f32::from_le_bytes).collect();
            if floats.iter().all(|value| value.is_finite()) {
                Ok(floats.chunks_exact(columns).map(<[f32]>::to_vec).collect())
            } else {
                Err(format!(
                    "its tensor {name:?} holds a value that is not finite"
                ))
            }
        };

        let image = get("image", Dtype::U8)?;
        let pixels = match *image.shape() {
            [height, width, 3] => u32::try_from(width)
                .ok()
                .zip(u32::try_from(height).ok())
                .and_then(|(width, height)| RgbImage::new(width, height, image.data().to_vec())),
            _ => None,
        };
        let (ids, texts, tokens) = numbers("input_ids", Dtype::I32)?;
        if texts == 0 || tokens != manifest.text_tokens {
            return Err(misshapen("input_ids", &[texts, tokens]));
        }
        let ids: Vec<i32> = ids.into_iter().map(i32::from_le_bytes).collect();
        Ok(Self {
            image: pixels.ok_or_else(|| misshapen("image", image.shape()))?,
            texts: ids.chunks_exact(tokens).map(<[i32]>::to_vec).collect(),
            image_embedding: vectors("image_embedding", 1)?.concat(),
            text_embeddings: vectors("text_embedding", texts)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::manifest;
    use super::*;

    fn canary() -> Canary {
        Canary {
            image: RgbImage::new(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap(),
            texts: vec![vec![1, -2, 3], vec![4, 5, 256_000]],
            image_embedding: vec![0.5, -1.25],
            text_embeddings: vec![vec![1.0, 2.0], vec![3.0, f32::MIN_POSITIVE]],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = canary().encode().unwrap();
        assert_eq!(Canary::decode(&bytes, &manifest()), Ok(canary()));
    }

    #[test]
    fn what_does_not_fit_the_manifest_is_refused() {
        let decode = |canary: Canary, manifest: &Manifest| {
            Canary::decode(&canary.encode().unwrap(), manifest).unwrap_err()
        };
        let mut other = manifest();
        other.dimensions = 4;
        assert!(decode(canary(), &other).contains("image_embedding"));
        other = manifest();
        other.text_tokens = 64;
        assert!(decode(canary(), &other).contains("input_ids"));

        let mut nan = canary();
        nan.text_embeddings[1][0] = f32::NAN;
        assert!(decode(nan, &manifest()).contains("text_embedding"));
        let mut short = canary();
        short.text_embeddings.pop();
        assert!(short.encode().is_err());
        assert!(
            Canary::decode(b"no", &manifest())
                .unwrap_err()
                .contains("safetensors")
        );
    }
}
