//! Fixed inputs and the vectors expected for them: `canary.safetensors`.
//!
//! FP16 engines of SigLIP are known to give wrong vectors without an error, on some GPUs only.
//! So an engine is shipped with the vectors of the FP32 CPU engine, and whatever runs the
//! engine compares its own vectors with them.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::Manifest;
use siglip2_image::RgbImage;

/// A picture and texts, and their vectors as the CPU engine computes them in FP32: pooled
/// output, not normalized.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    /// The picture, whose size is not the model's; where pictures are of variable resolution, the
    /// last of `grids`.
    pub image: RgbImage,
    /// The texts, as token ids.
    pub texts: Vec<Vec<i32>>,
    /// The picture's vector.
    pub image_embedding: Vec<f32>,
    /// The texts' vectors, in the order of the texts.
    pub text_embeddings: Vec<Vec<f32>>,
    /// Where pictures are of variable resolution, one for each number of patches that they are
    /// padded to, in that order: a picture of whole patches, fewer than that and more than the
    /// number before, and its vector.
    pub grids: Vec<(RgbImage, Vec<f32>)>,
}

/// Why a `canary.safetensors` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// It is in another format.
    #[error("it is not a safetensors file ({0})")]
    Format(#[from] SafeTensorError),
    /// A tensor is missing.
    #[error("it has no tensor {0:?}")]
    Missing(String),
    /// A tensor has numbers of another type.
    #[error("its tensor {name:?} is {dtype:?}")]
    Type {
        /// Which tensor.
        name: String,
        /// The type that it has.
        dtype: Dtype,
    },
    /// A tensor has another shape.
    #[error("its tensor {name:?} has shape {shape:?}, which does not fit the manifest")]
    Shape {
        /// Which tensor.
        name: String,
        /// The shape that it has.
        shape: Vec<usize>,
    },
    /// A tensor has a number that is not finite.
    #[error("its tensor {0:?} holds a value that is not finite")]
    NotFinite(String),
}

/// The name of the tensor of a grid's picture.
fn grid_name(index: usize) -> String {
    format!("grid.{index}")
}

impl Canary {
    /// The bytes of a `canary.safetensors`.
    ///
    /// # Errors
    ///
    /// When the texts or vectors differ in length.
    pub fn encode(&self) -> Result<Vec<u8>, SafeTensorError> {
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
        let of_grids = bytes(&mut self.grids.iter().flat_map(|(_, vector)| vector));
        fn view<'a>(
            dtype: Dtype,
            shape: &[usize],
            data: &'a [u8],
        ) -> Result<TensorView<'a>, SafeTensorError> {
            TensorView::new(dtype, shape.to_vec(), data)
        }
        fn picture(image: &RgbImage) -> Result<TensorView<'_>, SafeTensorError> {
            let shape = [image.height() as usize, image.width() as usize, 3];
            view(Dtype::U8, &shape, image.pixels())
        }
        let rows = |rows: usize, data| view(Dtype::F32, &[rows, dimensions], data);
        let ids = view(Dtype::I32, &[self.texts.len(), tokens], &ids)?;
        let mut tensors = vec![
            ("image".to_owned(), picture(image)?),
            ("input_ids".to_owned(), ids),
            ("image_embedding".to_owned(), rows(1, &of_image)?),
            (
                "text_embedding".to_owned(),
                rows(self.texts.len(), &of_texts)?,
            ),
        ];
        if !self.grids.is_empty() {
            let of_grids = rows(self.grids.len(), &of_grids)?;
            tensors.push(("grid_embedding".to_owned(), of_grids));
            for (index, (image, _)) in self.grids.iter().enumerate() {
                tensors.push((grid_name(index), picture(image)?));
            }
        }
        safetensors::serialize(tensors, None)
    }

    /// Reads what [`Canary::encode`] wrote for the model that the manifest describes.
    ///
    /// # Errors
    ///
    /// When a tensor is missing, has another shape, or holds a value that is not finite.
    pub fn decode(bytes: &[u8], manifest: &Manifest) -> Result<Self, CanaryError> {
        let tensors = SafeTensors::deserialize(bytes)?;
        let get = |name: &str, dtype: Dtype| {
            let tensor = tensors
                .tensor(name)
                .map_err(|_| CanaryError::Missing(name.to_owned()))?;
            if tensor.dtype() == dtype {
                Ok(tensor)
            } else {
                Err(CanaryError::Type {
                    name: name.to_owned(),
                    dtype: tensor.dtype(),
                })
            }
        };
        let misshapen = |name: &str, shape: &[usize]| CanaryError::Shape {
            name: name.to_owned(),
            shape: shape.to_vec(),
        };
        let numbers = |name: &str, dtype| -> Result<(Vec<[u8; 4]>, usize, usize), CanaryError> {
            let tensor = get(name, dtype)?;
            let &[rows, columns] = tensor.shape() else {
                return Err(misshapen(name, tensor.shape()));
            };
            let (numbers, _) = tensor.data().as_chunks();
            Ok((numbers.to_vec(), rows, columns))
        };
        let vectors = |name: &str, rows_wanted: usize| -> Result<Vec<Vec<f32>>, CanaryError> {
            let (numbers, rows, columns) = numbers(name, Dtype::F32)?;
            if (rows, columns) != (rows_wanted, manifest.dimensions) {
                return Err(misshapen(name, &[rows, columns]));
            }
            let floats: Vec<f32> = numbers.into_iter().map(f32::from_le_bytes).collect();
            if floats.iter().all(|value| value.is_finite()) {
                Ok(floats.chunks_exact(columns).map(<[f32]>::to_vec).collect())
            } else {
                Err(CanaryError::NotFinite(name.to_owned()))
            }
        };

        let picture = |name: &str| {
            let image = get(name, Dtype::U8)?;
            let pixels = match *image.shape() {
                [height, width, 3] => u32::try_from(width)
                    .ok()
                    .zip(u32::try_from(height).ok())
                    .and_then(|(width, height)| {
                        RgbImage::new(width, height, image.data().to_vec())
                    }),
                _ => None,
            };
            pixels.ok_or_else(|| misshapen(name, image.shape()))
        };
        let grids = match &manifest.patches {
            None => Vec::new(),
            Some(patches) => {
                let vectors = vectors("grid_embedding", patches.buckets.len())?;
                let pictures = (0..vectors.len()).map(|index| {
                    let name = grid_name(index);
                    let image = picture(&name)?;
                    let (width, height) = (image.width() as usize, image.height() as usize);
                    let count = (width / patches.size) * (height / patches.size);
                    let before = index.checked_sub(1).map_or(0, |at| patches.buckets[at]);
                    let is_whole = [width, height]
                        .iter()
                        .all(|it| it.is_multiple_of(patches.size));
                    if !is_whole || !(before + 1..=patches.buckets[index]).contains(&count) {
                        return Err(misshapen(&name, &[height, width, 3]));
                    }
                    Ok(image)
                });
                let pictures = pictures.collect::<Result<Vec<_>, CanaryError>>()?;
                std::iter::zip(pictures, vectors).collect()
            }
        };
        let (ids, texts, tokens) = numbers("input_ids", Dtype::I32)?;
        if texts == 0 || tokens != manifest.text_tokens {
            return Err(misshapen("input_ids", &[texts, tokens]));
        }
        let ids: Vec<i32> = ids.into_iter().map(i32::from_le_bytes).collect();
        Ok(Self {
            image: picture("image")?,
            texts: ids.chunks_exact(tokens).map(<[i32]>::to_vec).collect(),
            image_embedding: vectors("image_embedding", 1)?.concat(),
            text_embeddings: vectors("text_embedding", texts)?,
            grids,
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
            grids: Vec::new(),
        }
    }

    #[test]
    fn every_number_of_patches_has_its_picture() {
        let grid = |width: u32, height: u32, value: f32| {
            let pixels = vec![7; (width * height * 3) as usize];
            let image = RgbImage::new(width, height, pixels).unwrap();
            (image, vec![value, 1.0])
        };
        let mut manifest = manifest();
        manifest.patches = Some(super::super::PatchEntry {
            size: 2,
            buckets: vec![4, 9],
        });
        let with = |grids: Vec<_>| Canary { grids, ..canary() };
        let right = with(vec![grid(4, 4, 1.0), grid(2, 16, 2.0)]);
        let read = Canary::decode(&right.encode().unwrap(), &manifest);
        assert_eq!(read.unwrap(), right);
        for (wrong, name) in [
            (vec![], "grid_embedding"),
            (vec![grid(4, 4, 1.0)], "grid_embedding"),
            // As few patches as those before; more than there is room for; a part of one.
            (vec![grid(4, 4, 1.0), grid(4, 4, 2.0)], "grid.1"),
            (vec![grid(4, 4, 1.0), grid(2, 20, 2.0)], "grid.1"),
            (vec![grid(4, 5, 1.0), grid(6, 6, 2.0)], "grid.0"),
        ] {
            let read = Canary::decode(&with(wrong).encode().unwrap(), &manifest);
            let error = read.unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = canary().encode().unwrap();
        assert_eq!(Canary::decode(&bytes, &manifest()).unwrap(), canary());
    }

    #[test]
    fn what_does_not_fit_the_manifest_is_refused() {
        let decode = |canary: Canary, manifest: &Manifest| {
            let read = Canary::decode(&canary.encode().unwrap(), manifest);
            read.unwrap_err().to_string()
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
        let error = Canary::decode(b"no", &manifest()).unwrap_err();
        assert!(matches!(error, CanaryError::Format(_)), "{error}");
    }
}
