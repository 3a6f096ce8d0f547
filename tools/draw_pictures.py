"""Draws thousands of picture files over all formats, whole and damaged, and asks Pillow
about each.

    python tools/draw_pictures.py FOLDER [COUNT] [SEED]
    cargo run --release -p siglip2-image --example compare_with_pillow -- FOLDER

FOLDER then has the files and `expected.jsonl`: for each file its format, what was done to it,
and the size and the SHA-256 of the RGB pixels that Pillow gives, or its error. The second
command prints how many of them are equal, pixels and refusals. Needs Pillow and numpy.
"""

import hashlib
import io
import json
import pathlib
import random
import sys
import warnings

import numpy as np
from PIL import Image

warnings.simplefilter("ignore")


def picture(draw, modes):
    """A picture of one of the modes: noise, a ramp or few colours."""
    width, height = draw.randint(1, 70), draw.randint(1, 70)
    random = np.random.default_rng(draw.getrandbits(32))
    kind = draw.choice(["noise", "ramp", "flat", "few"])
    if kind == "noise":
        pixels = random.integers(0, 256, (height, width, 4), np.uint8)
    elif kind == "ramp":
        y, x = np.mgrid[0:height, 0:width]
        pixels = np.stack([x * 3, y * 3, x + y, 255 - x], -1).astype(np.uint8)
    elif kind == "flat":
        pixels = np.full((height, width, 4), random.integers(0, 256, 4), np.uint8)
    else:
        colours = random.integers(0, 256, (5, 4), np.uint8)
        pixels = colours[random.integers(0, 5, (height, width))]
    mode = draw.choice(modes)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * draw.choice([1, 257]))
    if mode in ("I", "F"):
        return image.convert("RGB").convert("L").convert(mode)
    if mode in ("CMYK", "YCbCr", "LAB", "P", "1", "L"):
        image = image.convert("RGB")
    return image if mode == "RGBA" else image.convert(mode)


def saved(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def jpeg(draw):
    image = picture(draw, ["L", "RGB", "RGB", "CMYK"])
    options = {
        "quality": draw.choice([5, 30, 75, 95, 100]),
        "progressive": draw.random() < 0.4,
        "optimize": draw.random() < 0.3,
    }
    if image.mode == "RGB":
        options["subsampling"] = draw.choice([0, 1, 2])
    if draw.random() < 0.3:
        options["restart_marker_blocks"] = draw.randint(1, 9)
    return saved(image, "JPEG", **options)


def png(draw):
    image = picture(draw, ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
    options = {"compress_level": draw.choice([0, 1, 9])}
    if image.mode == "P" and draw.random() < 0.3:
        options["bits"] = 8
    if draw.random() < 0.15 and image.mode in ("RGB", "RGBA", "L"):
        other = picture(draw, [image.mode]).resize(image.size)
        options |= {"save_all": True, "append_images": [other], "default_image": draw.random() < 0.3}
    return saved(image, "PNG", **options)


def gif(draw):
    image = picture(draw, ["P", "L", "1"])
    options = {"interlace": draw.random() < 0.5, "optimize": False}
    if draw.random() < 0.3:
        options["transparency"] = draw.randint(0, 255)
    if draw.random() < 0.3:
        others = [picture(draw, [image.mode]).resize(image.size) for _ in range(2)]
        options |= {"save_all": True, "append_images": others, "disposal": draw.randint(0, 3)}
    return saved(image, "GIF", **options)


def webp(draw):
    image = picture(draw, ["RGB", "RGBA", "L"])
    options = {"lossless": draw.random() < 0.5, "quality": draw.choice([0, 40, 80, 100])}
    options |= {"method": draw.randint(0, 6), "exact": draw.random() < 0.3}
    if draw.random() < 0.2:
        others = [picture(draw, ["RGBA"]).resize(image.size) for _ in range(2)]
        options |= {"save_all": True, "append_images": others}
    return saved(image, "WEBP", **options)


def bmp(draw):
    return saved(picture(draw, ["1", "L", "P", "RGB", "RGBA"]), "BMP")


def tiff(draw):
    image = picture(draw, ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
    packed = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]
    if image.mode in ("L", "RGB", "CMYK"):
        packed.append("jpeg")
    if image.mode == "1":
        packed += ["group3", "group4"]
    options = {"compression": draw.choice(packed)}
    if draw.random() < 0.3:
        options["tiffinfo"] = {274: draw.randint(1, 8)}
    return saved(image, "TIFF", **options)


def other(draw):
    """Formats that are refused by name."""
    format, modes = draw.choice(
        [("PPM", ["L", "RGB", "1"]), ("TGA", ["L", "RGB", "RGBA"]), ("PCX", ["L", "RGB"])]
        + [("ICO", ["RGBA"]), ("JPEG2000", ["L", "RGB"]), ("SGI", ["RGB"])]
        + [("DDS", ["RGBA"]), ("ICNS", ["RGBA"]), ("QOI", ["RGB", "RGBA"]), ("XBM", ["1"])]
    )
    return saved(picture(draw, modes), format)


FORMATS = {"jpeg": jpeg, "png": png, "gif": gif, "webp": webp, "bmp": bmp, "tiff": tiff}


def damaged(draw, data):
    """A file as it comes from a broken disk or line, and what was done to it."""
    data = bytearray(data)
    kind = draw.choice(["whole", "whole", "cut", "flip", "zeros", "drop", "insert", "behind"])
    at = draw.randrange(len(data) if draw.random() < 0.6 else min(len(data), 100))
    if kind == "cut":
        del data[at:]
    elif kind == "flip":
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "zeros":
        data[at : at + draw.randint(1, 8)] = bytes(min(8, len(data) - at))
    elif kind == "drop":
        del data[at : at + draw.randint(1, 4)]
    elif kind == "insert":
        data[at:at] = draw.randbytes(draw.randint(1, 4))
    elif kind == "behind":
        end = draw.choice([0, 1, 2, 4, 12])
        del data[len(data) - end :]
        data += draw.choice([bytes(16), b"\r\n", b"--boundary--\r\n", draw.randbytes(20)])
    return kind, bytes(data)


def pillow(data):
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format not in ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"):
                return {"other": image.format}
            rgb = image.convert("RGB")
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:100]}
    digest = hashlib.sha256(rgb.tobytes()).hexdigest()
    return {"width": rgb.width, "height": rgb.height, "sha256": digest}


def main():
    folder = pathlib.Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 6000
    draw = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "expected.jsonl", "w") as truth:
        for number in range(count):
            name = draw.choice(list(FORMATS))
            make = FORMATS[name]
            if draw.random() < 0.05:
                name, make = "other", other
            kind, data = damaged(draw, make(draw))
            file = f"{number:05}"
            (folder / file).write_bytes(data)
            row = {"file": file, "format": name, "damage": kind, **pillow(data)}
            truth.write(json.dumps(row) + "\n")
    print(count, "files in", folder)


if __name__ == "__main__":
    main()
