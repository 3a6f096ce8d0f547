"""Draws hundreds of AVIF files of every kind that the encoders at hand can write, whole and
damaged, and asks Pillow about each.

    python tools/draw_avif.py FOLDER [COUNT] [SEED]
    cargo run --release -p siglip2-image --example compare_with_pillow -- FOLDER

FOLDER then has the files, the RGB pixels that Pillow gives (`.rgb`) and `expected.jsonl`, as
tools/draw_pictures.py writes it. Needs Pillow, numpy and avifenc (Debian's libavif-bin), which
writes what Pillow does not: 10 and 12 bits, grids, other matrices, film grain.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

import draw_pictures

# Primaries, transfer and matrix; 0 is RGB as it is and 8 is YCgCo.
MATRICES = ["1/13/1", "1/13/5", "1/13/6", "9/16/9", "1/13/4", "1/13/7", "2/2/2", "12/13/12"]
MATRICES += ["1/1/12", "9/16/12", "5/13/12", "1/13/8", "1/13/0"]


def side(draw, least=1, even=False):
    length = draw.choice([draw.randint(least, max(least, 40)), draw.randint(max(least, 40), 200)])
    return length + length % 2 if even else length


def planes(draw, width, height, depth, layout):
    """Luma and chroma: ramps with noise, of all levels that there are."""
    random = np.random.default_rng(draw.getrandbits(32))
    halved = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "400": None}[layout]
    sizes = [(width, height)]
    if halved:
        sizes += [(-(-width // halved[0]), -(-height // halved[1]))] * 2
    noise = draw.choice([0, 2, 1 << depth])
    for columns, rows in sizes:
        y, x = np.mgrid[0:rows, 0:columns]
        slope = random.integers(-6, 7, 2) << (depth - 8)
        plane = x * slope[0] + y * slope[1] + random.integers(0, 1 << depth)
        plane = plane + random.integers(-noise, noise + 1, (rows, columns))
        yield np.abs(plane % (2 << depth) - (1 << depth)).clip(0, (1 << depth) - 1)


def y4m(draw, width, height, depth, layout, range="full"):
    name = {"400": "mono", "420": "420jpeg"}.get(layout, layout)
    if depth > 8:
        name = {"400": f"mono{depth}"}.get(layout, f"{layout}p{depth}")
    frame = b"".join(
        plane.astype("<u2" if depth > 8 else "u1").tobytes()
        for plane in planes(draw, width, height, depth, layout)
    )
    head = f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C{name} XCOLORRANGE={range.upper()}"
    return head.encode() + b"\nFRAME\n" + frame


def avifenc(inputs, *options):
    """What avifenc writes, or None where it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        names = []
        for number, (end, data) in enumerate(inputs):
            names.append(folder / f"{number}.{end}")
            names[-1].write_bytes(data)
        out = folder / "out.avif"
        command = ["avifenc", "-s", "9", *options, *names, "-o", out]
        done = subprocess.run([str(part) for part in command], capture_output=True)
        return out.read_bytes() if done.returncode == 0 and out.exists() else None


def quality(draw):
    worst = draw.choice([0, 5, 20, 40, 63])
    return ["--min", str(draw.randint(0, worst)), "--max", str(worst)]


def coded(draw, depth, layout):
    """Planes as they are, in any of the matrices."""
    range = draw.choice(["full", "limited"])
    data = y4m(draw, side(draw), side(draw), depth, layout, range)
    options = quality(draw)
    matrices = [m for m in MATRICES if m[-2:] != "/0" or layout in ("444", "400")]
    options += ["--cicp", draw.choice(matrices)]
    if draw.random() < 0.2:
        options += ["--irot", str(draw.randint(0, 3)), "--imir", str(draw.randint(0, 1))]
    if draw.random() < 0.2:
        options += ["-a", f"film-grain-test={draw.randint(1, 16)}"]
    if draw.random() < 0.2:
        options += ["-a", "sharpness=3", "-a", "enable-palette=1", "-a", "enable-intrabc=1"]
    return avifenc([("y4m", data)], *options)


def png(draw, modes, size=None):
    image = draw_pictures.picture(draw, modes)
    return draw_pictures.saved(image.resize(size) if size else image, "PNG")


def alpha(draw):
    """Colours with alpha, in 8, 10 and 12 bits, at times multiplied by it."""
    layout = draw.choice(["420", "422", "444", "400"])
    options = quality(draw) + ["-d", draw.choice(["8", "10", "12"]), "-y", layout]
    options += ["-r", draw.choice(["full", "limited"])]
    if draw.random() < 0.5:
        options += ["-p"]
    if draw.random() < 0.4:
        options += ["--cicp", draw.choice(["1/13/1", "9/16/9", "1/13/4", "1/13/6"])]
    return avifenc([("png", png(draw, ["RGBA"]))], *options)


def grid(draw):
    columns, rows = draw.randint(1, 3), draw.randint(1, 3)
    layout, depth = draw.choice(["420", "422", "444", "400"]), draw.choice([8, 8, 10])
    size = (side(draw, 64, even=True), side(draw, 64, even=True))
    if draw.random() < 0.3:
        inputs = [("png", png(draw, ["RGBA"], size)) for _ in range(columns * rows)]
        options = ["-y", layout, "-d", str(depth)]
    else:
        inputs = [("y4m", y4m(draw, *size, depth, layout)) for _ in range(columns * rows)]
        options = []
    return avifenc(inputs, *quality(draw), *options, "--grid", f"{columns}x{rows}")


def lossless(draw):
    return avifenc([("png", png(draw, ["RGB", "RGBA"]))], "--lossless")


def cropped(draw):
    data = y4m(draw, 40, 30, 8, draw.choice(["420", "444"]))
    return avifenc([("y4m", data)], *quality(draw), "--crop", "2,2,20,10")


def of_pillow(draw):
    image = draw_pictures.picture(draw, ["L", "RGB", "RGB", "RGBA", "LA"])
    options = {
        "quality": draw.choice([10, 50, 90, 100]),
        "speed": draw.choice([6, 8, 10]),
        "subsampling": draw.choice(["4:2:0", "4:2:2", "4:4:4", "4:0:0"]),
        "range": draw.choice(["full", "limited"]),
        "alpha_premultiplied": draw.random() < 0.3,
        "tile_rows": draw.choice([0, 1]),
    }
    if draw.random() < 0.2:
        others = [draw_pictures.picture(draw, [image.mode]).resize(image.size) for _ in range(2)]
        options |= {"save_all": True, "append_images": others}
    return draw_pictures.saved(image, "AVIF", **options)


KINDS = {
    f"avif {depth} bits {layout}": (lambda d, depth=depth, layout=layout: coded(d, depth, layout))
    for depth in (8, 10, 12)
    for layout in ("420", "422", "444", "400")
}
KINDS |= {"avif alpha": alpha, "avif grid": grid, "avif lossless": lossless}
KINDS |= {"avif cropped": cropped, "avif of Pillow": of_pillow}


def main():
    folder = pathlib.Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    draw = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [*KINDS, "avif of Pillow", "avif of Pillow", "avif of Pillow", "avif alpha"]
    with open(folder / "expected.jsonl", "w") as truth:
        written = 0
        while written < count:
            name = draw.choice(kinds)
            data = KINDS[name](draw)
            if data is None:
                continue
            kind = "whole"
            if draw.random() < 0.2:
                kind, data = draw_pictures.damaged(draw, data)
            file = f"{written:05}"
            (folder / file).write_bytes(data)
            said = draw_pictures.pillow(data)
            if "sha256" in said:
                with Image.open(folder / file) as image:
                    (folder / f"{file}.rgb").write_bytes(image.convert("RGB").tobytes())
            truth.write(json.dumps({"file": file, "format": name, "damage": kind, **said}) + "\n")
            written += 1
    print(count, "files in", folder)


if __name__ == "__main__":
    main()
