"""How fast nvJPEG decodes on a GPU, through torchvision, and how far its pixels are from Pillow's:
drawn pictures, baseline and progressive, of 224 x 224 and 1920 x 1280. For tools/gpu-trial.

    python tools/gpu_nvjpeg.py

`--device cpu --batches 1 --seconds 0.05` tests the script itself without a GPU: torchvision then
decodes with libjpeg.
"""

import argparse
import io
import time

import numpy
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Smooth colours, edges and grain: about as many bytes as a photo of the size."""
    random = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[0:height, 0:width]
    waves = [numpy.sin(x / random.integers(20, 90) + y / random.integers(20, 90)) for _ in range(3)]
    pixels = 128 + 80 * numpy.stack(waves, axis=-1)
    for _ in range(20):
        left, top = random.integers(0, width), random.integers(0, height)
        pixels[top : top + height // 5, left : left + width // 5] = random.integers(0, 256, 3)
    pixels += random.normal(0, 6, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))


def encoded(image: Image.Image, progressive: bool) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85, progressive=progressive)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--batches", default="1,8,64,256")
    options = parser.parse_args()
    gpu = options.device == "cuda"
    wait = torch.cuda.synchronize if gpu else lambda: None
    for width, height in [(224, 224), (1920, 1280)]:
        images = [picture(width, height, seed) for seed in range(8)]
        for progressive in [False, True]:
            kind = "progressive" if progressive else "baseline"
            files = [encoded(image, progressive) for image in images]
            tensors = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]

            def decode(batch: list) -> list:
                found = decode_jpeg(batch, mode=ImageReadMode.RGB, device=options.device)
                wait()
                return found

            worst, total = 0, 0.0
            for file, found in zip(files, decode(tensors)):
                right = numpy.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)
                apart = numpy.abs(found.permute(1, 2, 0).cpu().numpy().astype(int) - right)
                worst, total = max(worst, apart.max()), total + apart.mean() / len(files)
            name = f"nvJPEG, {width} x {height}, {kind}"
            print(f"| {name}, levels from Pillow's | {total:.2f} on average, {worst} at most |")
            for rows in map(int, options.batches.split(",")):
                # Progressive files are slow; a rate of few says as much.
                if progressive and rows > 8:
                    continue
                batch = [tensors[number % len(tensors)] for number in range(rows)]
                decode(batch)
                begun, decoded = time.perf_counter(), 0
                while decoded == 0 or time.perf_counter() - begun < options.seconds:
                    decode(batch)
                    decoded += rows
                rate = decoded / (time.perf_counter() - begun)
                print(f"| {name}, batches of {rows} | {rate:.0f} /s |", flush=True)


if __name__ == "__main__":
    main()
