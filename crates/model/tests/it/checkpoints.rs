//! Checkpoint directories as different versions of transformers and different people write
//! them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use siglip2_model::checkpoint::{Checkpoint, DType};

use crate::{copy, fixture};

/// Changes a JSON file of a directory.
fn edit(directory: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = directory.join(file);
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn refused(directory: &Path) -> String {
    Checkpoint::open(directory)
        .and_then(|it| Ok(it.files.text_tokenizer(&it.config, None)?))
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

/// transformers 5 writes processor_config.json alone; where both are there, it reads that.
#[test]
fn the_layout_of_transformers_5_is_read_as_transformers_reads_it() {
    let directory = copy(&fixture("golden/patch16"));
    let old = directory.path().join("preprocessor_config.json");
    let mut processor: Value = serde_json::from_slice(&fs::read(&old).unwrap()).unwrap();
    processor["image_mean"] = json!([0.48, 0.45, 0.4]);
    processor["resample"] = json!(3);
    let nested = json!({"image_processor": processor, "processor_class": "SiglipProcessor"});
    fs::write(
        directory.path().join("processor_config.json"),
        nested.to_string(),
    )
    .unwrap();
    let both = Checkpoint::open(directory.path()).unwrap().files;
    fs::remove_file(&old).unwrap();
    let alone = Checkpoint::open(directory.path()).unwrap().files;
    assert_eq!(both, alone);
    let read: Value = serde_json::from_slice(&both.preprocessor).unwrap();
    assert_eq!(read, processor);
}

/// What transformers 5.24 does without tokenizer_config.json, by the model's type and class.
#[test]
fn a_tokenizer_whose_class_is_not_known_is_refused() {
    let directory = copy(&fixture("golden/patch16"));
    let path = directory.path();
    edit(path, "tokenizer_config.json", |config| {
        config.as_object_mut().unwrap().remove("tokenizer_class");
    });
    assert!(refused(path).contains("tokenizer_config.json"));
    fs::remove_file(path.join("tokenizer_config.json")).unwrap();
    assert!(refused(path).contains("tokenizer_config.json"));
    // A class in config.json is as good.
    edit(path, "config.json", |config| {
        config["tokenizer_class"] = json!("GemmaTokenizer");
    });
    let checkpoint = Checkpoint::open(path).unwrap();
    let tokenizer = checkpoint
        .files
        .text_tokenizer(&checkpoint.config, None)
        .unwrap();
    let ids = tokenizer.encode("A Cat").unwrap();
    assert_eq!(ids[..5], [70, 303, 72, 472, 1]);
}

/// The tower is as long as transformers pads texts.
#[test]
fn texts_are_no_longer_than_the_tokenizer_makes_them() {
    let directory = copy(&fixture("golden/patch16"));
    edit(directory.path(), "tokenizer_config.json", |config| {
        // It goes before the length in this model's tokenizer.json.
        config["max_length"] = json!(24);
    });
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(checkpoint.config.text.positions, 24);
    assert_eq!(checkpoint.config.text.stored_positions, 64);
    let tokenizer = checkpoint
        .files
        .text_tokenizer(&checkpoint.config, None)
        .unwrap();
    assert_eq!(tokenizer.encode("a cat").unwrap().len(), 24);
}

/// FP64 weights become FP32, and are otherwise those of the same checkpoint.
#[test]
fn weights_in_fp64_are_read() {
    let directory = copy(&fixture("golden/patch16"));
    let path = directory.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let single = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let doubles: Vec<(String, Vec<usize>, Vec<u8>)> = single
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let (numbers, _) = view.data().as_chunks();
            let numbers = numbers
                .iter()
                .map(|&raw| f64::from(f32::from_le_bytes(raw)));
            let raw = numbers.flat_map(f64::to_le_bytes).collect();
            (name, view.shape().to_vec(), raw)
        })
        .collect();
    let views = doubles.iter().map(|(name, shape, raw)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F64, shape.clone(), raw);
        (name.as_str(), view.unwrap())
    });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let converted = Checkpoint::open(directory.path()).unwrap();
    let original = Checkpoint::open(&fixture("golden/patch16")).unwrap();
    let name = "text_model.embeddings.token_embedding.weight";
    let shape = [original.config.text.vocab_size, 64];
    let numbers = |checkpoint: &Checkpoint| {
        let tensor = checkpoint.weights.get(name, &shape).unwrap();
        assert_eq!(tensor.dtype, DType::F32);
        checkpoint.weights.shards()[tensor.shard][tensor.offset..][..tensor.length].to_vec()
    };
    assert_eq!(numbers(&converted), numbers(&original));
    assert_eq!(
        converted.logit_bias().unwrap(),
        original.logit_bias().unwrap()
    );
}

#[test]
fn a_damaged_file_is_named() {
    for (file, content, said) in [
        ("processor_config.json", "{", "processor_config.json"),
        ("config.json", "[", "config.json"),
        ("model.safetensors", "no weights", "model.safetensors"),
    ] {
        let directory = copy(&fixture("golden/patch16"));
        fs::write(directory.path().join(file), content).unwrap();
        let error = refused(directory.path());
        assert!(error.contains(said), "{error}");
    }
}
