"""Writes the truth for crates/image/tests/it/resize.rs: what transformers' SiglipImageProcessor
does to noise images of many sizes.

    python tools/make_resize_fixtures.py

Needs transformers, torch and torchvision. The images are not stored: a small
generator (`noise`) exists here and in the test, byte for byte the same. For each
case the JSON holds the source size, the target side, PIL's resample number and the
SHA-256 of the resized 8-bit pixels (rows of RGB triples). The second part holds the
normalization tables: for each configuration what `pixel_values` is for the bytes
0..255 of each channel, as f32 bit patterns.
"""

import hashlib
import json
import pathlib
import random

import numpy as np
import torch
import torchvision
import transformers
from PIL import Image
from transformers import SiglipImageProcessor

OUT = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "resize.json"


def noise(width, height, seed):
    """Bytes of a 64-bit linear congruential generator, one per sample, with streaks
    of repeated and extreme values so that clipping and flat areas are met too."""
    count = width * height * 3
    multiplier, increment = 6364136223846793005, 1442695040888963407
    # state_k = a^k * s + c * (a^k - 1) / (a - 1): by doubling, without a Python loop.
    states = np.empty(count, np.uint64)
    states[0] = (seed * multiplier + increment) & (2**64 - 1)
    filled, a, c = 1, multiplier, increment
    while filled < count:
        step = min(filled, count - filled)
        states[filled : filled + step] = states[:step] * np.uint64(a) + np.uint64(c)
        filled += step
        a, c = (a * a) % 2**64, (a * c + c) % 2**64
    kind = (states >> np.uint64(40)) & np.uint64(7)
    value = (states >> np.uint64(56)).astype(np.uint8)
    value = np.where(kind == 0, 0, np.where(kind == 1, 255, value)).astype(np.uint8)
    return value.reshape(height, width, 3)


def resized(pixels, size, resample):
    processor = SiglipImageProcessor(
        size={"height": size, "width": size},
        resample=resample,
        do_rescale=False,
        do_normalize=False,
    )
    out = processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]
    assert out.dtype == torch.uint8 and out.shape == (3, size, size), (out.dtype, out.shape)
    return out.permute(1, 2, 0).contiguous().numpy().tobytes()


def cases():
    targets = [(224, 2), (384, 3), (64, 2), (256, 2), (224, 3), (512, 2), (32, 3)]
    odd = [(1, 1), (2, 1500), (3000, 3), (5000, 1), (1, 5000), (1, 2), (2, 1), (3, 3)]
    odd += [(223, 225), (225, 223), (448, 448), (224, 500), (500, 224), (7, 224)]
    odd += [(1500, 1000), (1000, 1500), (1920, 1280), (2048, 16), (16, 2048), (383, 385)]
    for width, height in odd:
        for size, resample in targets[:4]:
            yield width, height, size, resample
    for size, resample in targets:
        yield size, size, size, resample
        yield size, size // 2, size, resample
        yield size // 2, size, size, resample
    draw = random.Random(20260)
    for _ in range(110):
        top = draw.choice([20, 100, 400, 900])
        yield draw.randint(1, top), draw.randint(1, top), *draw.choice(targets)
    for _ in range(24):
        resample, size = draw.choice([0, 1]), draw.choice([64, 224, 384])
        yield draw.randint(1, 700), draw.randint(1, 700), size, resample
    for resample in (0, 1):
        for width, height in [(1, 1), (3000, 3), (2, 1500), (224, 100), (100, 224), (224, 224)]:
            yield width, height, 224, resample
    # So many source pixels to a target pixel that every bit of a weight counts.
    long = [(33600, 5), (5, 33600), (79, 36861), (60000, 3), (3, 65535), (29000, 7), (7, 30000)]
    for width, height in long:
        for size, resample in [(224, 2), (64, 3), (224, 1), (384, 3)]:
            yield width, height, size, resample


def tables():
    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    for config in [
        half,
        imagenet,
        {},
        {**imagenet, "rescale_factor": 1 / 127.5},
        {**imagenet, "rescale_factor": 0.00392156862745098},
        {**half, "do_rescale": False},
        {**half, "do_normalize": False},
        {**half, "do_normalize": False, "do_rescale": False},
    ]:
        processor = SiglipImageProcessor(size={"height": 16, "width": 16}, **config)
        ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
        pixels = np.stack([ramp] * 3, axis=-1)
        out = processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]
        bits = out.to(torch.float32).numpy().view(np.uint32).reshape(3, 256)
        yield {"config": config, "bits": [[f"{v:08x}" for v in row] for row in bits.tolist()]}


def main():
    rows = []
    for seed, (width, height, size, resample) in enumerate(cases()):
        digest = hashlib.sha256(resized(noise(width, height, seed), size, resample)).hexdigest()
        rows.append([width, height, seed, size, resample, digest])
    truth = {
        "made_with": f"transformers {transformers.__version__}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}",
        "columns": ["width", "height", "seed", "size", "resample", "sha256"],
    }
    text = json.dumps(truth, indent=1)[:-2]
    text += ',\n "cases": [\n  ' + ",\n  ".join(json.dumps(row) for row in rows) + "\n ]"
    text += ',\n "tables": [\n  ' + ",\n  ".join(json.dumps(t) for t in tables()) + "\n ]\n}\n"
    OUT.write_text(text)
    print(len(rows), "cases,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
