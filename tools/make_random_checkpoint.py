"""Writes a SigLIP checkpoint of a real model's exact shape with random weights.

The cost of a model depends on its shape and not on its weights, and so does the
arithmetic: such a checkpoint replaces the real one in benchmarks and in comparisons
with transformers, where the real one cannot be downloaded.

    python tools/make_random_checkpoint.py --shape base /tmp/siglip2-base-random

Data flow: SHAPES -> SiglipConfig -> SiglipModel(random, seeded) -> model.safetensors
and config.json; the tokenizer is drawn, of the real one's size (tools/make_random_tokenizer.py), or
the demo model's if the vocabulary is smaller; the processor the shape's own. Of those of variable resolution (NaFlex) all
of this is transformers' Siglip2.
"""

import argparse
import shutil
from pathlib import Path

import torch
from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

import make_random_tokenizer

DEMO = Path(__file__).resolve().parent.parent / "models" / "demo"

# Tokens of Gemma's tokenizer, which all of SigLIP 2 has.
VOCABULARY = 256_000

# google/siglip2-*: vision (width, feed-forward, layers, heads), text (the same).
BASE = (768, 3072, 12, 12)
LARGE = (1024, 4096, 24, 16)
SO400M = (1152, 4304, 27, 16)
GIANT = (1536, 6144, 40, 16)

# Where others have the side of the image: positions of 16 by 16 patches, resized to any grid.
NAFLEX = None

# name: vision, text, patch, side of the image
SHAPES = {
    "base-224": (BASE, BASE, 16, 224),
    "base-256": (BASE, BASE, 16, 256),
    "base-384": (BASE, BASE, 16, 384),
    "base-512": (BASE, BASE, 16, 512),
    "large-256": (LARGE, LARGE, 16, 256),
    "large-384": (LARGE, LARGE, 16, 384),
    "base-naflex": (BASE, BASE, 16, NAFLEX),
    "so400m-naflex": (SO400M, SO400M, 16, NAFLEX),
    "so400m-patch14-224": (SO400M, SO400M, 14, 224),
    "so400m-patch14-384": (SO400M, SO400M, 14, 384),
    "so400m-patch16-256": (SO400M, SO400M, 16, 256),
    "so400m-patch16-384": (SO400M, SO400M, 16, 384),
    "so400m-patch16-512": (SO400M, SO400M, 16, 512),
    "giant-opt-256": (GIANT, SO400M, 16, 256),
    "giant-opt-384": (GIANT, SO400M, 16, 384),
}
# Names that stood alone before there were several sizes of each.
SHORT = {
    "base": "base-224",
    "large": "large-256",
    "so400m": "so400m-patch14-224",
    "giant-opt": "giant-opt-256",
}


def config(shape: str, vocabulary: int) -> SiglipConfig | Siglip2Config:
    """The configuration of a real checkpoint of this shape."""
    vision, text, patch, side = SHAPES[SHORT.get(shape, shape)]
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    kind, grid = SiglipConfig, {"image_size": side}
    if side is NAFLEX:
        kind, grid = Siglip2Config, {"num_patches": 256}
    return kind(
        vision_config=dict(zip(keys, vision)) | {"patch_size": patch} | grid,
        text_config=dict(zip(keys, text))
        | {
            "vocab_size": vocabulary,
            "max_position_embeddings": 64,
            "projection_size": vision[0],
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 1,
        },
    )


def write(name: str, directory: Path, vocabulary: int = VOCABULARY, seed: int = 0) -> int:
    """Writes a checkpoint; how many parameters it has."""
    torch.manual_seed(seed)
    shape = config(name, vocabulary)
    is_naflex = shape.model_type == "siglip2"
    model = (Siglip2Model if is_naflex else SiglipModel)(shape).eval()
    with torch.no_grad():
        # transformers initializes these to zero, unlike any trained checkpoint.
        model.logit_scale.fill_(4.7)
        model.logit_bias.fill_(-16.5)
    model.save_pretrained(directory)
    if is_naflex:
        Siglip2ImageProcessor().save_pretrained(directory)
    else:
        side = shape.vision_config.image_size
        SiglipImageProcessor(
            size={"height": side, "width": side},
            resample=2,
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        ).save_pretrained(directory)
    if vocabulary >= VOCABULARY:
        make_random_tokenizer.write(directory, VOCABULARY)
    else:
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(DEMO / file, directory / file)
    return sum(p.numel() for p in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shape", choices=[*SHAPES, *SHORT], default="base")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    parameters = write(args.shape, args.directory, args.vocabulary, args.seed)
    print(f"{args.directory}: siglip2-{args.shape} shape, {parameters:,} random parameters")


if __name__ == "__main__":
    main()
