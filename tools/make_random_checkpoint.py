"""Writes a SigLIP checkpoint of a real model's exact shape with random weights.

The cost of a model depends on its shape and not on its weights, and so does the
arithmetic: such a checkpoint replaces the real one in benchmarks and in comparisons
with transformers, where the real one cannot be downloaded.

    python tools/make_random_checkpoint.py --shape base /tmp/siglip2-base-random

Data flow: SHAPES -> SiglipConfig -> SiglipModel(random, seeded) -> model.safetensors
and config.json; the tokenizer is the demo model's (its ids are all below any
vocabulary here), the processor the shape's own.
"""

import argparse
import shutil
from pathlib import Path

import torch
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

DEMO = Path(__file__).resolve().parent.parent / "models" / "demo"

# google/siglip2-*: vision (width, feed-forward, layers, heads, patch, image side),
# text (width, feed-forward, layers, heads). The vocabulary is Gemma's, 256,000.
SHAPES = {
    "base": ((768, 3072, 12, 12, 16, 224), (768, 3072, 12, 12)),
    "large": ((1024, 4096, 24, 16, 16, 256), (1024, 4096, 24, 16)),
    "so400m": ((1152, 4304, 27, 16, 14, 224), (1152, 4304, 27, 16)),
    "giant-opt": ((1536, 6144, 40, 16, 16, 256), (1152, 4304, 27, 16)),
}


def config(shape: str, vocabulary: int) -> SiglipConfig:
    """The configuration of a real checkpoint of this shape."""
    vision, text = SHAPES[shape]
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return SiglipConfig(
        vision_config=dict(zip(keys, vision)) | {"patch_size": vision[4], "image_size": vision[5]},
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--vocabulary", type=int, default=256_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    shape = config(args.shape, args.vocabulary)
    model = SiglipModel(shape).eval()
    with torch.no_grad():
        # transformers initializes these to zero, unlike any trained checkpoint.
        model.logit_scale.fill_(4.7)
        model.logit_bias.fill_(-16.5)
    model.save_pretrained(args.directory)
    side = shape.vision_config.image_size
    SiglipImageProcessor(
        size={"height": side, "width": side},
        resample=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(args.directory)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / file, args.directory / file)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{args.directory}: siglip2-{args.shape} shape, {parameters:,} random parameters")


if __name__ == "__main__":
    main()
