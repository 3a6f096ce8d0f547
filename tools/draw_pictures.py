"""Draws thousands of picture files over all formats, whole and damaged, and asks Pillow
about each.

    python tools/draw_pictures.py FOLDER [COUNT] [SEED] [--others] [--only FORMAT]
    cargo run --release -p siglip2-image --example compare_with_pillow -- FOLDER

FOLDER then has the files and `expected.jsonl`: for each file its format, what was done to it,
and the size and the SHA-256 of the RGB pixels that Pillow gives, or its error. The second
command prints how many of them are equal, pixels and refusals. Needs Pillow and numpy.

With --others most files are by other encoders (tools/other_encoders.py, which says what to
install), and most damage knows the format (tools/damage_pictures.py). An encoder that is not
installed is an error.
"""

import argparse
import hashlib
import io
import json
import lzma
import pathlib
import random
import struct
import warnings
import zlib

import numpy as np
from PIL import Image

import damage_pictures
import make_image_fixtures as fixtures
import other_encoders

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
    if draw.random() < 0.15:
        return rare_tiff(draw)
    image = picture(draw, ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
    packed = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"]
    if image.mode in ("L", "RGB", "CMYK"):
        packed.append("jpeg")
    if image.mode == "1":
        packed += ["group3", "group4"]
    options = {"compression": draw.choice(packed)}
    tags = {}
    if draw.random() < 0.3:
        tags[274] = draw.randint(1, 8)
    if draw.random() < 0.3:
        # Strips that are JPEGs have whole units.
        tags[278] = draw.choice([16, 32]) if options["compression"] == "jpeg" else draw.randint(1, 20)
    if options["compression"] in ("tiff_lzw", "zstd", "lzma") and image.mode in ("L", "RGB", "RGBA", "I;16"):
        tags[317] = draw.randint(1, 2)
    if tags:
        options["tiffinfo"] = tags
    return saved(image, "TIFF", **options)


def rare_tiff(draw):
    """Subsampled YCbCr, 12 bits, Lab, floats that were predicted, and old-style JPEG: Pillow reads
    them, and writes none of them but Lab."""
    pixels = np.asarray(picture(draw, ["YCbCr"]))
    height, width = pixels.shape[:2]
    rare = draw.random()
    if rare < 0.2:
        return saved(picture(draw, ["LAB"]), "TIFF", compression=draw.choice(["raw", "tiff_lzw"]))
    if rare < 0.3:
        rows = [fixtures.predicted_floats(row) for row in pixels[..., 0].astype(np.float32) * 1.3]
        made = fixtures.tags(width, height, [32], 1, 8, rows=7, t317=(3, [3]), t339=(3, [3]))
        return fixtures.tiff(made, fixtures.deflate(fixtures.in_strips(rows, 7)), draw.choice("<>"))
    if rare < 0.5:
        return old_jpeg(draw, pixels)
    kind = draw.choice([1, 8, 34925])
    pack = {1: bytes, 8: zlib.compress, 34925: lzma.compress}[kind]
    if draw.random() < 0.3:
        values = pixels[..., 0].astype(int) * draw.choice([1, 16])
        bits = ["".join(f"{value:012b}" for value in row) for row in values]
        rows = [int(row + "0" * (-len(row) % 8), 2).to_bytes((len(row) + 7) // 8, "big") for row in bits]
        made = fixtures.tags(width, height, [12], 1, kind, rows=7)
        return fixtures.tiff(made, [pack(strip) for strip in fixtures.in_strips(rows, 7)])
    across, down = draw.choice([(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)])
    made = fixtures.tags(width, height, [8] * 3, 6, kind, rows=8, t530=(3, [across, down]))
    if draw.random() < 0.3:
        made[532] = (5, [draw.randint(0, 30), 1, draw.randint(200, 255), 1, 128, 1, 240, 1, 128, 1, 240, 1])
    units = fixtures.ycc_units(pixels, across, down)
    return fixtures.tiff(made, [pack(strip) for strip in fixtures.in_strips(units, 8 // down)])


def old_jpeg(draw, pixels):
    height, width = pixels.shape[:2]
    planes = [pixels[..., c] for c in range(3)]
    across, down = draw.choice([(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2)])
    if draw.random() < 0.2:
        tile = draw.choice([16, 32, 64]), draw.choice([16, 32])
        rgb = np.asarray(Image.fromarray(pixels, "YCbCr").convert("RGB"))
        head, strips = fixtures.old_jpeg_tiles(rgb, tile, (across, down), draw.choice([None, 3000]))
        made = fixtures.tags(width, height, [8] * 3, 6, 6, t514=(4, [len(head)]), t322=(4, [tile[0]]), t323=(4, [tile[1]]))
        del made[278]
        return fixtures.pointing(made | {530: (3, [across, down])}, strips, {513: [head]})
    data = fixtures.jpeg(planes, [(across, down), (1, 1), (1, 1)], restart=draw.choice([0, 0, 3]))
    found, head, scan = fixtures.parts(data)
    made = fixtures.tags(width, height, [8] * 3, 6, 6, t530=(3, [across, down]))
    if 0xDD in found:
        made[515] = (3, [3])
    kind = draw.choice(["tables", "whole", "head"])
    if kind == "tables":
        return fixtures.pointing(made, [scan], fixtures.stored_tables(found))
    made[514] = (4, [len(data if kind == "whole" else head)])
    return fixtures.pointing(made, [scan] if kind == "head" else [], {513: [data if kind == "whole" else head]})


def avif(draw):
    options = {"quality": draw.choice([10, 60, 100]), "subsampling": draw.choice(["4:2:0", "4:2:2", "4:4:4", "4:0:0"])}
    return saved(picture(draw, ["RGB", "RGBA"]), "AVIF", speed=10, **options)


def ico(draw):
    image = picture(draw, ["RGBA", "RGB", "L", "P", "1"])
    return saved(image, "ICO", sizes=[image.size], bitmap_format=draw.choice(["bmp", "png"]))


def cur(draw):
    image = picture(draw, ["RGBA", "RGB", "P", "1", "L"])
    icon = saved(image, "ICO", sizes=[image.size], bitmap_format="bmp")
    return b"\0\0\2\0" + icon[4:]


def icns(draw):
    side, file, planes, mask = draw.choice(
        [(16, b"icp4", b"is32", b"s8mk"), (32, b"icp5", b"il32", b"l8mk"), (48, None, b"ih32", b"h8mk")]
    )
    image = picture(draw, ["RGB", "RGBA", "P", "L"]).resize((side, side))
    if file and draw.random() < 0.5:
        return fixtures.icns((file, saved(image, "PNG")))
    pixels = np.asarray(image.convert("RGBA"))
    runs = b"".join(fixtures.icns_runs(pixels[..., c].tobytes()) for c in range(3))
    if draw.random() < 0.3:
        runs = pixels[..., :3].tobytes()
    return fixtures.icns((planes, runs), (mask, pixels[..., 3].tobytes()))


def pnm(draw):
    return saved(picture(draw, ["1", "L", "RGB"]), "PPM")


def tga(draw):
    options = {"compression": "tga_rle"} if draw.random() < 0.5 else {}
    return saved(picture(draw, ["L", "P", "RGB", "RGBA"]), "TGA", **options)


def qoi(draw):
    return saved(picture(draw, ["RGB", "RGBA"]), "QOI")


def pcx(draw):
    return saved(picture(draw, ["1", "L", "P", "RGB"]), "PCX")


def sun(draw):
    pixels = np.asarray(picture(draw, ["RGBA"]))
    height, width = pixels.shape[:2]
    depth = draw.choice([1, 4, 8, 24, 32])
    used = (width * depth + 7) // 8
    rows = [row.tobytes()[:used] for row in pixels]
    colours = draw.randbytes(3 << depth) if depth in (4, 8) and draw.random() < 0.5 else b""
    if draw.random() < 0.5:
        return fixtures.sun(width, height, depth, 2, [fixtures.sun_runs(b"".join(rows))], colours)
    rows = [row + bytes(-used % 2) for row in rows]
    return fixtures.sun(width, height, depth, draw.choice([0, 1, 3]), rows, colours)


def sgi(draw):
    image = picture(draw, ["L", "RGB", "RGBA"])
    if draw.random() < 0.5:
        return saved(image, "SGI", bpc=draw.choice([1, 2]))
    pixels = np.atleast_3d(np.asarray(image))[::-1]
    depth = draw.choice([1, 2])
    rows = [pixels[y, :, c].repeat(depth).tobytes() for c in range(pixels.shape[2]) for y in range(pixels.shape[0])]
    return fixtures.sgi(image.width, image.height, pixels.shape[2], depth, rows)


def xbm(draw):
    return saved(picture(draw, ["1"]), "XBM")


def xpm(draw):
    image = picture(draw, ["RGB"]).quantize(draw.choice([2, 40, 256]))
    table, letters = np.array(image.getpalette()).reshape(-1, 3), draw.choice([2, 3])
    keys = ["".join(chr(97 + n // 20**i % 20) for i in range(letters)).encode() for n in range(len(table))]
    colours = [b"c #%02x%02x%02x" % tuple(colour) for colour in table.tolist()]
    if draw.random() < 0.2:
        colours[0] = b"c None"
    rows = [b"".join(keys[n] for n in row) for row in np.asarray(image)]
    return fixtures.xpm(image.width, image.height, colours, keys, rows)


def dds(draw):
    image = picture(draw, ["RGB", "RGBA", "L", "LA"])
    kind = draw.choice(["plain", "packed", "noise"])
    if kind == "plain":
        return saved(image, "DDS")
    if kind == "packed":
        return saved(image.convert("RGBA"), "DDS", pixel_format=draw.choice(["DXT1", "DXT3", "DXT5", "BC2", "BC3"]))
    blocks = -(-image.width // 4) * -(-image.height // 4)
    format = draw.choice([71, 74, 77, 80, 83, 84, 98, 98, 98])
    data = struct.pack("<5I", format, 3, 0, 1, 0) + draw.randbytes(blocks * 16)
    return fixtures.dds(image.width, image.height, 4, data, b"DX10")


def other(draw):
    """Formats that are refused by name."""
    format, modes = draw.choice([("JPEG2000", ["L", "RGB"]), ("IM", ["RGB"])])
    return saved(picture(draw, modes), format)


# Those that people send most are drawn three times as often.
def vp8(draw):
    return fixtures.vp8(draw, draw.randint(1, 70), draw.randint(1, 70), draw.choice([1, 50, 3000, 40000, 40000]))


COMMON = {"jpeg": jpeg, "png": png, "gif": gif, "webp": webp, "bmp": bmp, "tiff": tiff}
SELDOM = {"avif": avif, "ico": ico, "cur": cur, "icns": icns, "pnm": pnm, "tga": tga, "qoi": qoi}
SELDOM |= {"pcx": pcx, "sun": sun, "sgi": sgi, "xbm": xbm, "xpm": xpm, "dds": dds, "vp8": vp8, "other": other}
FORMATS = COMMON | SELDOM
NAMES = [*COMMON] * 3 + [*SELDOM]

# What Pillow calls the formats that are decoded here.
DECODED = "JPEG MPO PNG GIF WEBP BMP TIFF AVIF ICO CUR ICNS PPM TGA QOI PCX SUN SGI XBM XPM DDS".split()


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
            if image.format not in DECODED:
                return {"other": image.format}
            rgb = image.convert("RGB")
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:100]}
    digest = hashlib.sha256(rgb.tobytes()).hexdigest()
    return {"width": rgb.width, "height": rgb.height, "sha256": digest}


def drawn(draw, name):
    """What was done to a file by Pillow or by hand, and the file."""
    return damaged(draw, FORMATS[name](draw))


def drawn_by_others(draw, name):
    """The same, but by another encoder where there is one."""
    data = None
    while not data:
        if name in other_encoders.DRAWN and draw.random() < 0.75:
            pixels = np.ascontiguousarray(np.asarray(picture(draw, ["RGBA"])))
            try:
                data = other_encoders.DRAWN[name](draw, pixels)
            except ImportError:
                raise
            except Exception:
                # An encoder does not take what was drawn, which each says in its own way.
                continue
        else:
            data = FORMATS[name](draw)
    if draw.random() < 0.3:
        return "whole", data
    return damage_pictures.of(draw, name, data) if draw.random() < 0.8 else damaged(draw, data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("count", type=int, nargs="?", default=6000)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--only", choices=sorted(FORMATS), help="files of this format alone")
    given = parser.parse_args()
    folder, count, draw = given.folder, given.count, random.Random(given.seed)
    one = drawn_by_others if given.others else drawn
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "expected.jsonl", "w") as truth:
        for number in range(count):
            name = given.only or draw.choice(NAMES)
            kind, data = one(draw, name)
            file = f"{number:05}"
            (folder / file).write_bytes(data)
            row = {"file": file, "format": name, "damage": kind, **pillow(data)}
            truth.write(json.dumps(row) + "\n")
    print(count, "files in", folder)


if __name__ == "__main__":
    main()
