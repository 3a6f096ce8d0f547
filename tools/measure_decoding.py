"""What decoding a JPEG otherwise than Pillow does to its vector.

    pip install numpy Pillow==13.0.0 simplejpeg
    cargo build --release
    python tools/measure_decoding.py --model DIR photos/*.jpg

Two settings of the service change the pixels that the model is given. `--decode-reduced` is asked for as it
is. What `--decode gpu` has of nvJPEG is stood in for by libjpeg-turbo with repeated instead of
interpolated chroma, which is what is different in nvJPEG (docs/precision.md), so that no GPU is needed.

Data flow: the files, and drawings (edges and grain, quality 85, 4:2:0) --decoded here, written as
PNG--> `siglip2-embeddings embed` in FP32 on the CPU --> cosine to the vector of Pillow's pixels.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageDraw, ImageFilter

import rank_agreement

ROOT = rank_agreement.ROOT
# How many drawings of which size, and each one's sides.
DRAWINGS = [(12, (1920, 1280)), (6, (4032, 3024)), (24, (512, 384))]


def drawing(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A gradient, forms with hard edges on it, and the grain of a sensor."""
    width, height = size
    corners = random.integers(0, 256, (2, 2, 3), np.uint8)
    image = Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = random.integers(0, width), random.integers(0, height)
        across, down = random.integers(4, max(width // 4, 5)), random.integers(4, max(height // 4, 5))
        colour = tuple(int(part) for part in random.integers(0, 256, 3))
        form = random.choice([draw.ellipse, draw.rectangle])
        form([int(x), int(y), int(x + across), int(y + down)], fill=colour)
    image = image.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 1.5))))
    grain = random.normal(0, random.uniform(2, 10), (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def embedded(arguments, folder: Path, out: Path, *more: str) -> np.ndarray:
    inputs = [str(folder), *more]
    return rank_agreement.vectors(arguments, inputs, "fp32", out, "img_emb")


def row(arguments, name: str, files: list[Path], scratch: Path) -> str:
    """The cells of one group of files: worst and mean cosine of either way."""
    kinds = {kind: scratch / kind for kind in ("files", "pillow", "repeated")}
    for folder in kinds.values():
        folder.mkdir(parents=True)
    levels = 0
    for number, file in enumerate(files):
        data = file.read_bytes()
        (kinds["files"] / f"{number:03}.jpg").write_bytes(data)
        whole = Image.open(file).convert("RGB")
        repeated = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=True)
        levels = max(levels, int(np.abs(np.asarray(whole).astype(int) - repeated).max()))
        whole.save(kinds["pillow"] / f"{number:03}.png", compress_level=1)
        Image.fromarray(repeated).save(kinds["repeated"] / f"{number:03}.png", compress_level=1)
    truth = embedded(arguments, kinds["pillow"], scratch / "out-pillow")
    cells = [name]
    for found in (
        embedded(arguments, kinds["repeated"], scratch / "out-repeated"),
        embedded(arguments, kinds["files"], scratch / "out-reduced", "--decode-reduced"),
    ):
        cosine = rank_agreement.cosines(found, truth)
        cells.append(f"{cosine.min():.6f}, {cosine.mean():.6f}")
    cells.append(str(levels))
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="*")
    parser.add_argument("--binary", default=str(ROOT / "target/release/siglip2-embeddings"))
    parser.add_argument("--model", default="demo")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    print(
        f"{arguments.model}: cosine to the vector of Pillow's pixels, worst and mean; the last column "
        "is the largest difference of a level where chroma is repeated\n"
    )
    print("| pictures | without interpolated chroma | `--decode-reduced` | levels |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        if arguments.photos:
            name = f"{len(arguments.photos)} photos"
            print(row(arguments, name, arguments.photos, scratch / "photos"), flush=True)
        for count, size in DRAWINGS:
            folder = scratch / f"{size[0]}"
            folder.mkdir()
            files = []
            for number in range(count):
                files.append(folder / f"{number:03}.jpg")
                drawing(random, size).save(files[-1], quality=85, subsampling="4:2:0")
            name = f"{count} drawings, {size[0]} x {size[1]}"
            print(row(arguments, name, files, folder / "work"), flush=True)


if __name__ == "__main__":
    main()
