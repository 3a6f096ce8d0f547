//! The tensors of a checkpoint: one safetensors file, or several behind an index.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use siglip2_mapping::Mapping;

use super::{CheckpointError, half};
use crate::files::{PYTORCH_WEIGHTS, WEIGHTS, WEIGHTS_INDEX, is_inside};

/// How a tensor's numbers are stored, little-endian. FP64, in which no engine computes, is
/// converted to FP32 when a checkpoint is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where a tensor lies: `length` bytes from `offset` in the file `shard`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Index into [`Weights::shards`].
    pub shard: usize,
    /// How its numbers are stored.
    pub dtype: DType,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// First byte, counted from the start of the file.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
}

/// Every tensor of a checkpoint, by name, and the files that hold them.
#[derive(Clone)]
pub struct Weights {
    shards: Vec<&'static [u8]>,
    /// The paths of the shards; a shard without one is only in memory.
    files: HashMap<usize, PathBuf>,
    /// Those of the shards that are mapped files.
    mappings: Vec<Mapping>,
    tensors: HashMap<String, Tensor>,
    /// Tensors in the files that are not floats, by name.
    others: HashMap<String, Dtype>,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weights")
            .field("shards", &self.shards.len())
            .field("tensors", &self.tensors.len())
            .finish()
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// The files that an index of weights names, without duplicates; `file` is the index's name
/// for errors.
pub(crate) fn shards(index: &[u8], file: &Path) -> Result<BTreeSet<String>, CheckpointError> {
    let index: Index = serde_json::from_slice(index).map_err(|error| CheckpointError::Json {
        file: file.to_owned(),
        reason: error.to_string(),
    })?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    // An index is an untrusted file and may say "../../etc/passwd".
    match shards.iter().find(|name| !is_inside(name)) {
        Some(name) => Err(CheckpointError::Outside {
            file: file.to_owned(),
            name: name.clone(),
        }),
        None => Ok(shards),
    }
}

impl Weights {
    /// Maps and indexes the safetensors files of a directory.
    ///
    /// # Errors
    ///
    /// If there are none, or one is damaged or truncated.
    pub(super) fn open(directory: &Path) -> Result<Self, CheckpointError> {
        let mut weights = Self::empty();
        if directory.join(WEIGHTS).exists() {
            weights.open_file(directory, WEIGHTS)?;
        } else if let Some(index) = super::optional(directory, WEIGHTS_INDEX)? {
            for file in shards(&index, &directory.join(WEIGHTS_INDEX))? {
                weights.open_file(directory, &file)?;
            }
        } else {
            let pytorch = PYTORCH_WEIGHTS
                .into_iter()
                .find(|file| directory.join(file).exists());
            let directory = directory.to_owned();
            return Err(match pytorch {
                Some(file) => CheckpointError::PytorchOnly {
                    directory,
                    file: file.to_owned(),
                },
                None => CheckpointError::MissingFile {
                    directory,
                    file: WEIGHTS.to_owned(),
                },
            });
        }
        Ok(weights)
    }

    /// The tensors of one safetensors file that is already in memory.
    ///
    /// # Errors
    ///
    /// If it is damaged.
    pub(super) fn of(name: &str, bytes: &'static [u8]) -> Result<Self, CheckpointError> {
        let mut weights = Self::empty();
        weights.add(name, bytes)?;
        Ok(weights)
    }

    fn empty() -> Self {
        Self {
            shards: Vec::new(),
            files: HashMap::new(),
            mappings: Vec::new(),
            tensors: HashMap::new(),
            others: HashMap::new(),
        }
    }

    fn open_file(&mut self, directory: &Path, file: &str) -> Result<(), CheckpointError> {
        let path = directory.join(file);
        match Mapping::open(&path) {
            Ok(mapping) => {
                self.mappings.push(mapping);
                self.files.insert(self.shards.len(), path.clone());
                self.add(&path.display().to_string(), mapping.bytes())
            }
            Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => {
                Err(CheckpointError::MissingFile {
                    directory: directory.to_owned(),
                    file: file.to_owned(),
                })
            }
            Err(reason) => Err(CheckpointError::Unreadable { path, reason }),
        }
    }

    fn add(&mut self, name: &str, bytes: &'static [u8]) -> Result<(), CheckpointError> {
        let contents = index(name, bytes, self.shards.len())?;
        self.shards.push(bytes);
        self.tensors.extend(contents.floats);
        for (name, tensor) in contents.doubles {
            self.keep(name, half::narrowed(bytes, &tensor), tensor.shape);
        }
        self.others.extend(contents.others);
        Ok(())
    }

    /// Puts an FP32 tensor into memory that is kept for the life of the process, like a
    /// mapping.
    fn keep(&mut self, name: String, numbers: Vec<f32>, shape: Vec<usize>) {
        let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        let tensor = Tensor {
            shard: self.shards.len(),
            dtype: DType::F32,
            shape,
            offset: 0,
            length: bytes.len(),
        };
        self.shards.push(Vec::leak(bytes));
        self.tensors.insert(name, tensor);
    }

    /// The files, mapped, and tensors that were converted.
    pub fn shards(&self) -> &[&'static [u8]] {
        &self.shards
    }

    /// The path of the shard `shard`, if it is a file.
    pub fn file(&self, shard: usize) -> Option<&Path> {
        self.files.get(&shard).map(PathBuf::as_path)
    }

    /// Releases the memory of the mapped pages read so far. They are read again, from the page
    /// cache, when they are needed.
    pub fn release(&self) {
        for mapping in &self.mappings {
            mapping.release();
        }
    }

    /// The tensor `name`, which must have this shape.
    ///
    /// # Errors
    ///
    /// If it is missing, has another shape, or does not contain floats.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<&Tensor, CheckpointError> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(match self.others.get(name) {
                Some(dtype) => CheckpointError::Unsupported {
                    name: name.to_owned(),
                    dtype: format!("{dtype:?}"),
                },
                None => CheckpointError::MissingTensor {
                    name: name.to_owned(),
                },
            });
        };
        if tensor.shape != shape {
            return Err(CheckpointError::Misshapen {
                name: name.to_owned(),
                found: tensor.shape.clone(),
                expected: shape.to_owned(),
            });
        }
        Ok(tensor)
    }

    /// The tensor `name` of any shape, and its bytes.
    pub fn find(&self, name: &str) -> Option<(&Tensor, &'static [u8])> {
        let tensor = self.tensors.get(name)?;
        let bytes = &self.shards[tensor.shard][tensor.offset..tensor.offset + tensor.length];
        Some((tensor, bytes))
    }

    /// The largest magnitude in each row of the tensor `name`, which must have this shape: a row
    /// for each number of the first dimension.
    ///
    /// # Errors
    ///
    /// The same as for [`Weights::get`].
    pub(crate) fn largest_of_rows(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<Vec<f32>, CheckpointError> {
        let floats = self.floats(self.get(name, shape)?);
        let row: usize = shape.iter().skip(1).product();
        let largest = |row: &[f32]| row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        Ok(floats.chunks_exact(row.max(1)).map(largest).collect())
    }

    /// The single float of the tensor `name`, whose shape is `[1]` or `[]`.
    ///
    /// # Errors
    ///
    /// The same as for [`Weights::get`].
    pub(super) fn scalar(&self, name: &str) -> Result<f32, CheckpointError> {
        let tensor = self.get(name, &[1]).or_else(|_| self.get(name, &[]));
        // Name the usual shape in the error.
        let tensor = match tensor {
            Ok(tensor) => tensor,
            Err(_) => self.get(name, &[1])?,
        };
        Ok(self.floats(tensor).first().copied().unwrap_or(f32::NAN))
    }

    /// All tensors with their bytes, in the order of their names.
    pub(crate) fn by_name(&self) -> Vec<(&str, &Tensor, &'static [u8])> {
        let mut all: Vec<_> = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let shard: &'static [u8] = self.shards[tensor.shard];
                let bytes = &shard[tensor.offset..tensor.offset + tensor.length];
                (name.as_str(), tensor, bytes)
            })
            .collect();
        all.sort_unstable_by_key(|&(name, _, _)| name);
        all
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> usize {
        self.tensors.values().map(|tensor| tensor.length).sum()
    }

    fn floats(&self, tensor: &Tensor) -> Vec<f32> {
        let bytes = &self.shards[tensor.shard][tensor.offset..tensor.offset + tensor.length];
        half::to_f32(tensor.dtype, bytes)
    }

    /// The same weights with every tensor in FP32 and aligned as FP32 must be. Tensors that
    /// already are stay where they are; the others are converted into memory that is kept for
    /// the life of the process, like a mapping.
    pub fn into_f32(mut self) -> Self {
        let align = align_of::<f32>();
        let convert = |weights: &Self, tensor: &Tensor| {
            let address = weights.shards[tensor.shard].as_ptr() as usize + tensor.offset;
            tensor.dtype != DType::F32 || !address.is_multiple_of(align)
        };
        let names: Vec<String> = self
            .tensors
            .iter()
            .filter(|(_, tensor)| convert(&self, tensor))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let Some(tensor) = self.tensors.get(&name).cloned() else {
                continue;
            };
            let numbers = self.floats(&tensor);
            self.keep(name, numbers, tensor.shape);
        }
        self
    }
}

/// The tensors that a safetensors file holds, by name.
#[derive(Default)]
pub(super) struct Contents {
    pub floats: HashMap<String, Tensor>,
    /// FP64 tensors; their `dtype` is what they will be converted to.
    pub doubles: HashMap<String, Tensor>,
    /// Tensors of other numbers.
    pub others: HashMap<String, Dtype>,
}

/// Reads the header of the safetensors file `name`, which becomes the shard `shard`.
pub(super) fn index(name: &str, bytes: &[u8], shard: usize) -> Result<Contents, CheckpointError> {
    // This checks that the header is whole and that the tensors cover the rest of the
    // file exactly, each with as many bytes as its shape and type say.
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| CheckpointError::Weights {
            file: name.to_owned(),
            reason: error.to_string(),
        })?;
    let data = size_of::<u64>() + header;
    let mut contents = Contents::default();
    for (tensor, info) in metadata.tensors() {
        let dtype = match info.dtype {
            Dtype::F32 | Dtype::F64 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => {
                contents.others.insert(tensor, other);
                continue;
            }
        };
        let list = if info.dtype == Dtype::F64 {
            &mut contents.doubles
        } else {
            &mut contents.floats
        };
        let (start, end) = info.data_offsets;
        list.insert(
            tensor,
            Tensor {
                shard,
                dtype,
                shape: info.shape.clone(),
                offset: data + start,
                length: end - start,
            },
        );
    }
    Ok(contents)
}
