"""Writes the truth for crates/image/tests/it/crop.rs: what transformers' SigLIP, ViT and CLIP
image processors do to noise pictures where they keep the aspect and cut out the middle, or are
configured in older ways.

    python tools/make_crop_fixtures.py

Needs transformers, torch and torchvision. For each case the JSON holds a configuration with its
class, the side of the model's square, the source's width, height and seed, and the SHA-256 of the
8-bit pixels that come out (rows of RGB triples); `tables` has the SHA-256 of what
the classes' defaults make of the bytes 0..255 of each channel (little-endian FP32).
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import CLIPImageProcessor, SiglipImageProcessor, ViTImageProcessor

from make_resize_fixtures import noise

OUT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "crop.json"
CLASSES = {
    kind.__name__: kind for kind in (SiglipImageProcessor, ViTImageProcessor, CLIPImageProcessor)
}

# Class, configuration, side of the square that comes out.
CONFIGS = [
    ("CLIPImageProcessor", {}, 224),
    ("CLIPImageProcessor", {"size": 256}, 224),
    ("CLIPImageProcessor", {"size": {"shortest_edge": 64}, "crop_size": 48}, 48),
    ("CLIPImageProcessor", {"size": {"shortest_edge": 40}, "crop_size": [65, 65]}, 65),
    ("CLIPImageProcessor", {"size": [96, 80], "crop_size": {"height": 64, "width": 64}}, 64),
    ("CLIPImageProcessor", {"use_square_size": True}, 224),
    ("CLIPImageProcessor", {"size": [96, 96], "do_center_crop": False}, 96),
    ("CLIPImageProcessor", {"size": 64, "default_to_square": True, "crop_size": 50}, 50),
    ("ViTImageProcessor", {}, 224),
    ("ViTImageProcessor", {"size": 96}, 96),
    ("ViTImageProcessor", {"size": 96, "resample": 3}, 96),
    ("ViTImageProcessor", {"size": 96, "do_center_crop": True, "crop_size": 81}, 81),
    ("SiglipImageProcessor", {"size": [64, 64]}, 64),
    ("SiglipImageProcessor", {"size": 64, "do_center_crop": True, "crop_size": 64}, 64),
    ("SiglipImageProcessor", {"size": 64, "do_center_crop": True, "crop_size": 33,
                              "resample": 0}, 33),
    ("SiglipImageProcessor", {"size": {"shortest_edge": 64, "longest_edge": 90},
                              "do_center_crop": True, "crop_size": 64}, 64),
    ("SiglipImageProcessor", {"size": {"shortest_edge": 64, "longest_edge": 64},
                              "do_center_crop": True, "crop_size": 63, "resample": 1}, 63),
]
SIZES = [
    (1, 1), (64, 64), (65, 64), (64, 65), (97, 63), (331, 257), (257, 331), (30, 400), (400, 31),
    (1200, 800), (224, 224), (225, 500), (2, 90), (640, 3), (256, 256), (48, 47),
]


def main() -> None:
    cases = []
    for index, (name, config, side) in enumerate(CONFIGS):
        processor = CLASSES[name](**config, do_rescale=False, do_normalize=False)
        for seed, (width, height) in enumerate(SIZES):
            image = Image.fromarray(noise(width, height, seed))
            try:
                out = processor(images=image, return_tensors="pt")["pixel_values"][0]
            except RuntimeError:
                # A side would have no pixel.
                cases.append([index, width, height, seed, None])
                continue
            assert out.dtype == torch.uint8 and out.shape == (3, side, side), (config, out.shape)
            pixels = out.permute(1, 2, 0).contiguous().numpy().tobytes()
            cases.append([index, width, height, seed, hashlib.sha256(pixels).hexdigest()])
    tables = {}
    ramp = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=-1)
    for name, kind in CLASSES.items():
        processor = kind(size={"height": 16, "width": 16}, do_center_crop=False)
        out = processor(images=Image.fromarray(ramp), return_tensors="pt")["pixel_values"][0]
        bits = out.numpy().view(np.uint32).reshape(3, 256)
        tables[name] = hashlib.sha256(bits.astype("<u4").tobytes()).hexdigest()
    configs = [
        {"config": {"image_processor_type": name} | config, "side": side}
        for name, config, side in CONFIGS
    ]
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    OUT.write_text(
        f'{{\n "made_with": "transformers {transformers.__version__}",\n "configs": [\n  '
        + ",\n  ".join(json.dumps(config) for config in configs)
        + f'\n ],\n "tables": {json.dumps(tables)},\n "cases": [\n  {lines}\n ]\n}}\n'
    )
    print(len(cases), "cases,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
