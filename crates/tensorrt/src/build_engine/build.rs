//! From options to engine directories.
//!
//! ```text
//! --model, exports --> checkpoint, two graphs, the canary's vectors (CPU, FP32)
//! for each GPU: Writer --> two engines, the kernel, the checkpoint's files, manifest
//!               --> run on the GPU if there is one, compared with the canary --> into place
//! ```

use std::error::Error;
use std::io::{Write, stdout};
use std::time::Instant;

use crate::DeviceError;
use crate::build::builder::{self, Built, Request, Staging};
use crate::build::nvrtc::Compiler;
use crate::directory::{
    self, Architecture, BatchSize, CANARY, Canary, DirectoryError, EngineDirectory, FileEntry,
    Manifest, PatchEntry, RESIZE_KERNEL, SMALL_TEXT_ENGINE, SMALL_VISION_ENGINE, SmallEngine,
    TEXT_ENGINE, TowerEntry, VISION_ENGINE, Writer, buckets, model_name, profiles, size_profiles,
};
use crate::kernel;
use crate::libraries::{Libraries, Search};
use crate::run::{Gpu, gpus, or_end};
use siglip2_engine::Tower;
use siglip2_engine::cpu::CpuEngine;
use siglip2_image::Processor;
use siglip2_model::checkpoint::{Checkpoint, NaflexImages, Resolution, Source};
use siglip2_model::files::ModelFiles;
use siglip2_model::fingerprint::WeightsDigest;
use siglip2_model::graph::{self, Precision, Scales};

use super::calibrate::{self, SMALL_BATCHES};
use super::canary::canary;
use super::options::{BuildOptions, Verify};
use super::towers::{Towers, weights_sha256};
use super::verify::verify;

/// Builds the engines that the options ask for.
///
/// # Errors
///
/// A sentence that says what is wrong, where, and what to do. Directories finished before
/// the error are kept.
pub fn build(options: &BuildOptions) -> Result<(), Box<dyn Error>> {
    let here = match or_end(options.device_timeout, "looking for GPUs", |_| gpus()) {
        // Engines can be built here all the same.
        Err(error @ DeviceError::OldDriver { .. }) => {
            tracing::warn!("engines cannot be run on this machine: {error}");
            Vec::new()
        }
        found => found?,
    };
    let mut targets = targets(&options.gpu, &here)?;
    calibrate::check(options, targets.iter().map(|&(target, _)| target))?;
    let search = Search::new(options.tensorrt_lib.clone(), options.nvrtc_lib.clone());
    let opening = "opening the libraries of TensorRT and NVRTC";
    let tools = or_end(options.device_timeout, opening, |_| Tools::open(&search))?;
    if options.keep {
        targets.retain(|&(target, _)| !is_kept(options, &tools, target));
        if targets.is_empty() {
            return Ok(());
        }
    }

    let source = Source::of(&options.model)?;
    let checkpoint = source.open(&options.hub.revision, &options.hub.settings())?;
    CpuEngine::check(&checkpoint)?;
    let (processor, patches) = pictures(options, &checkpoint)?;
    processor.check_uncut()?;
    if patches.is_some() && options.precision == Some(Precision::Fp8) {
        return Err(
            "--precision fp8 is for models of fixed resolution, and this one is of variable \
             resolution (NaFlex); use --precision fp16"
                .into(),
        );
    }
    let scales = calibrate::scales(options, &checkpoint, &processor)?;
    let towers = match (&options.vision_onnx, &options.text_onnx) {
        (Some(vision), Some(text)) => {
            if patches.is_some() {
                return Err(
                    "--vision-onnx is for models of fixed resolution: what this program gives an \
                     engine of a model of variable resolution (NaFlex) no export takes; leave out \
                     --vision-onnx and --text-onnx to build the checkpoint"
                        .into(),
                );
            }
            Towers::exported(vision, text, options.precision)?
        }
        _ => match &scales {
            Some(scales) => Towers::of(&checkpoint, &processor, scales)?,
            None => Towers::of(
                &checkpoint,
                &processor,
                options.precision.unwrap_or(Precision::Fp16),
            )?,
        },
    };
    let small = match scales {
        Some(_) => Some(Towers::of(&checkpoint, &processor, Precision::Fp16)?),
        None => None,
    };
    tracing::info!(
        model = options.model,
        "computing the canary's vectors on the CPU"
    );
    let model = Model {
        name: model_name(&options.model).to_owned(),
        max_batch: usize::from(options.max_batch),
        canary: canary(&checkpoint, &processor, patches.as_ref())?,
        weights_digest: WeightsDigest::of(&checkpoint, siglip2_flags::cores()),
        checkpoint,
        processor,
        patches,
        towers,
        small,
        scales,
    };
    for (target, gpu) in targets {
        let started = Instant::now();
        let (directory, verified) = one(options, &model, &tools, target, gpu)?;
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(seconds, "{target}: {verified}");
        say(&directory);
    }
    Ok(())
}

/// The image processor, and how pictures are taken if they are of variable resolution.
fn pictures(
    options: &BuildOptions,
    checkpoint: &Checkpoint,
) -> Result<(Processor, Option<PatchEntry>), Box<dyn Error>> {
    let (json, vision) = (&checkpoint.files.preprocessor, &checkpoint.config.vision);
    if vision.resolution == Resolution::Fixed {
        let side = u32::try_from(vision.image_size)?;
        return Ok((Processor::from_json(json, side)?, None));
    }
    let images = NaflexImages::of(&checkpoint.files, vision, options.max_num_patches)?;
    let (size, most) = (images.patch_size, images.max_num_patches);
    let processor = Processor::naflex(json, u32::try_from(size)?, u32::try_from(most)?)?;
    Ok((processor, Some(PatchEntry::new(size, most))))
}

/// An architecture, and the GPU of this machine that has it.
type Target<'a> = (Architecture, Option<&'a Gpu>);

/// The requested architectures, each once, and the GPU of this machine that has it.
fn targets<'a>(names: &[String], here: &'a [Gpu]) -> Result<Vec<Target<'a>>, Box<dyn Error>> {
    let architecture = |gpu: &Gpu| gpu.architecture().parse::<Architecture>();
    let known = here
        .iter()
        .map(architecture)
        .collect::<Result<Vec<_>, _>>()?;
    let mut targets: Vec<Target<'_>> = Vec::new();
    for name in names {
        let target = if name.eq_ignore_ascii_case("current") {
            *known.first().ok_or(
                "--gpu current uses the first GPU of this machine, but there is none, or no \
                 driver for it; name the GPU: --gpu sm_120, --gpu rtx-5090",
            )?
        } else {
            name.parse()?
        };
        builder::check(target, &known)?;
        if !targets.iter().any(|&(known, _)| known == target) {
            let gpu = std::iter::zip(here, &known).find(|&(_, &known)| known == target);
            targets.push((target, gpu.map(|(gpu, _)| gpu)));
        }
    }
    Ok(targets)
}

/// Whether the model is a local one whose weights differ from an engine's. Nothing is fetched
/// for a name on the hub; and if the checkpoint is gone, its engine may still exist.
fn has_other_weights(options: &BuildOptions, manifest: &Manifest) -> bool {
    let source = match Source::of(&options.model) {
        Err(_) | Ok(Source::Hub(_)) => return false,
        Ok(source) => source,
    };
    match source.open(&options.hub.revision, &options.hub.settings()) {
        Ok(checkpoint) => manifest.weights_sha256 != weights_sha256(&checkpoint),
        Err(error) => {
            tracing::warn!("cannot compare the engine with the model's weights: {error}");
            false
        }
    }
}

/// Whether the engine directory to be built already exists: complete, built by this version
/// with this TensorRT, and from these weights if they are known.
fn is_kept(options: &BuildOptions, tools: &Tools, target: Architecture) -> bool {
    let precision = options.precision.unwrap_or(Precision::Fp16);
    let name = model_name(&options.model);
    let directory = match EngineDirectory::find(&options.out, name, target, precision) {
        Ok(directory) => directory,
        Err(DirectoryError::NotBuilt { .. }) => return false,
        Err(error) => {
            tracing::warn!("{error}");
            return false;
        }
    };
    let manifest = directory.manifest();
    let same = manifest.tensorrt == tools.libraries.version
        && manifest.created_by == CREATED_BY
        && manifest.weights_digest.is_some()
        && manifest.max_batch == usize::from(options.max_batch)
        && has_the_patches(options, &directory)
        && has_fp8_attention(manifest) == options.fp8_attention
        && !has_other_weights(options, manifest);
    if same {
        tracing::info!("{target}: kept, as --keep says");
        say(&directory);
    }
    same
}

/// Whether an engine takes pictures of as many patches as a new build of it would.
fn has_the_patches(options: &BuildOptions, directory: &EngineDirectory) -> bool {
    let Some(patches) = &directory.manifest().patches else {
        return true;
    };
    let wanted = || -> Result<usize, Box<dyn Error>> {
        let files = ModelFiles::read(directory.path(), |file| {
            Ok::<_, Box<dyn Error>>(directory.read_optional(file)?)
        })?;
        let config = files.config(&directory.path().display().to_string())?;
        let images = NaflexImages::of(&files, &config.vision, options.max_num_patches)?;
        Ok(images.max_num_patches)
    };
    wanted().is_ok_and(|wanted| wanted == patches.most())
}

/// Whether the products of attention are in FP8.
fn has_fp8_attention(manifest: &Manifest) -> bool {
    let mut scales = manifest.scales.iter().flat_map(Scales::iter);
    scales.any(|(name, _)| name.ends_with(".softmax"))
}

/// Prints the path of a directory, for scripts.
fn say(directory: &EngineDirectory) {
    // The engine is built even if nothing reads this output.
    let _ = writeln!(stdout(), "{}", directory.path().display());
}

/// This program's name in manifests.
const CREATED_BY: &str = concat!("build-engine ", env!("CARGO_PKG_VERSION"));

struct Tools {
    libraries: Libraries,
    compiler: Compiler,
}

impl Tools {
    fn open(search: &Search) -> Result<Self, Box<dyn Error>> {
        let tools = Self {
            libraries: Libraries::open(search)?,
            compiler: Compiler::open(Some(&search.nvrtc()?))?,
        };
        tools.libraries.open_parser()?;
        Ok(tools)
    }
}

/// The parts that all directories share.
struct Model {
    name: String,
    max_batch: usize,
    checkpoint: Checkpoint,
    weights_digest: WeightsDigest,
    processor: Processor,
    patches: Option<PatchEntry>,
    towers: Towers,
    /// In FP8, what small batches are computed by.
    small: Option<Towers>,
    /// In FP8, the scales of activations.
    scales: Option<Scales>,
    canary: Canary,
}

impl Model {
    /// The profiles of the engines that compute the largest batches.
    fn profiles(&self) -> Vec<[usize; 3]> {
        match self.small {
            Some(_) => vec![[SMALL_BATCHES + 1, self.max_batch, self.max_batch]],
            None => profiles(self.max_batch),
        }
    }
}

/// Builds the directory for one GPU. Returns it, and a sentence about its vectors.
fn one(
    options: &BuildOptions,
    model: &Model,
    tools: &Tools,
    target: Architecture,
    gpu: Option<&Gpu>,
) -> Result<(EngineDirectory, String), Box<dyn Error>> {
    if options.verify == Verify::Yes && gpu.is_none() {
        return Err(format!(
            "--verify yes must run the engine, but this machine has no {target}; --verify auto \
             builds it, and the service checks it when it starts"
        )
        .into());
    }
    let writer = Writer::new(&options.out, &model.name, target, model.towers.precision)?;
    let side = model.checkpoint.config.vision.image_size;
    let image = tower(model, tools, &writer, target, Tower::Image)?;
    let tokens = model.checkpoint.config.text.positions;
    let text = tower(model, tools, &writer, target, Tower::Text)?;

    let kernel = tools
        .compiler
        .compile(kernel::SOURCE, "resize.cu", &target.to_string())?;
    tracing::debug!("{}", kernel.log);
    let kernel = writer.write(RESIZE_KERNEL, &kernel.cubin)?;
    let mut manifest = Manifest {
        format: Manifest::format_of(model.patches.as_ref()),
        model: model.name.clone(),
        weights_sha256: model.towers.weights_sha256.clone(),
        weights_digest: Some(model.weights_digest.clone()),
        created_by: CREATED_BY.to_owned(),
        tensorrt: tools.libraries.version.clone(),
        gpu: target.into(),
        precision: model.towers.precision,
        dimensions: model.checkpoint.config.dimensions(),
        image_size: side,
        patches: model.patches.clone(),
        text_tokens: tokens,
        logit_scale: model.checkpoint.logit_scale()?,
        logit_bias: model.checkpoint.logit_bias()?,
        max_batch: model.max_batch,
        buckets: buckets(model.max_batch),
        profiles: model.profiles(),
        small_batches: model.small.as_ref().map(|_| SMALL_BATCHES),
        scales: model.scales.clone(),
        towers: directory::Towers { image, text },
        kernel,
        files: files(model, &writer)?,
        cosine: None,
    };
    let directory = writer.seal(&manifest)?;
    let said = match gpu {
        Some(gpu) if options.verify != Verify::No => {
            let cosines = verify(&directory, &model.processor, gpu, options.device_timeout)?;
            let said = format!("cosine to FP32: {cosines}");
            manifest.cosine = Some(cosines);
            writer.seal(&manifest)?;
            said
        }
        Some(_) => "not run, because of --verify no; the service checks it when it starts".into(),
        None => format!(
            "not run, because this machine has no {target}; the service checks it when it starts"
        ),
    };
    Ok((writer.finish()?, said))
}

/// The dimensions of a tower's input, for each optimization profile of one of its engines.
fn inputs(model: &Model, tower: Tower, profiles: &[[usize; 3]]) -> Vec<[Vec<usize>; 3]> {
    let config = &model.checkpoint.config;
    let patches = model.patches.as_ref().filter(|_| tower == Tower::Image);
    let sizes = size_profiles(profiles, model.max_batch, patches);
    let dims = |size: BatchSize| match (tower, size.patches) {
        (Tower::Text, _) => vec![size.rows, config.text.positions],
        (Tower::Image, None) => {
            let side = config.vision.image_size;
            vec![size.rows, 3, side, side]
        }
        (Tower::Image, Some(patches)) => {
            let bytes = graph::patches::bytes(config.vision.patch_size);
            vec![size.rows, patches, bytes]
        }
    };
    sizes.into_iter().map(|sizes| sizes.map(dims)).collect()
}

/// Builds and writes the engine of one tower, and the one of its small batches, if those have
/// their own.
fn tower(
    model: &Model,
    tools: &Tools,
    writer: &Writer,
    target: Architecture,
    tower: Tower,
) -> Result<TowerEntry, Box<dyn Error>> {
    let (file, small_file) = match tower {
        Tower::Image => (VISION_ENGINE, SMALL_VISION_ENGINE),
        Tower::Text => (TEXT_ENGINE, SMALL_TEXT_ENGINE),
    };
    let engine = |towers: &Towers, label: &str, file: &str, profiles: &[[usize; 3]]| {
        let staging = Staging::new(writer.path().join(".staging"))?;
        let (graph, graph_sha256) = towers.stage(tower, &model.checkpoint, &staging)?;
        let request = Request {
            label: &format!("{tower} tower for {target}{label}"),
            graph: &graph,
            gpu: target,
            width: model.checkpoint.config.dimensions(),
            profiles: &inputs(model, tower, profiles),
            details: towers.precision == Precision::Fp8,
        };
        let built = builder::build(&tools.libraries, request)?;
        let entry = writer.write(file, &built.engine)?;
        Ok::<_, Box<dyn Error>>((built, entry, graph_sha256))
    };
    let (built, entry, graph_sha256) = engine(&model.towers, "", file, &model.profiles())?;
    let small = match &model.small {
        None => None,
        Some(towers) => {
            let label = format!(", batches up to {SMALL_BATCHES} in {}", towers.precision);
            let profiles = profiles(SMALL_BATCHES);
            let (small, entry, graph_sha256) = engine(towers, &label, small_file, &profiles)?;
            if (&small.input, &small.output) != (&built.input, &built.output) {
                return Err(
                    format!("the two engines of the {tower} tower differ in tensors").into(),
                );
            }
            Some(SmallEngine {
                engine: entry,
                graph_sha256,
                layers: Some(small.layers),
            })
        }
    };
    let Built {
        input,
        output,
        layers,
        ..
    } = built;
    Ok(TowerEntry {
        engine: entry,
        graph_sha256,
        input,
        output,
        layers: Some(layers),
        small,
    })
}

/// Writes the checkpoint's files that the service needs, and the canary.
fn files(model: &Model, writer: &Writer) -> Result<Vec<FileEntry>, Box<dyn Error>> {
    let mut files = vec![writer.write(CANARY, &model.canary.encode()?)?];
    for (file, bytes) in model.checkpoint.files.named() {
        files.push(writer.write(file, bytes)?);
    }
    Ok(files)
}
