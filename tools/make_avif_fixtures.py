"""Makes tests/fixtures/avif: small AVIF files of every kind, and what Pillow makes of each;
and two large ones for crates/image.

    python tools/make_avif_fixtures.py

Needs Pillow 13.0.0, numpy and avifenc (Debian's libavif-bin 0.11.1). The encoders write other
bytes with other versions; the truth is always that of the Pillow that is installed.
"""

import hashlib
import json
import pathlib
import random
import shutil
import struct

import numpy as np
import PIL
from PIL import Image, ImageOps, features

import draw_avif
import draw_pictures

OUT = pathlib.Path(__file__).parent.parent / "tests/fixtures/avif"
LARGE = OUT.parent.parent.parent / "crates/image/tests/fixtures"
FILES = {}


def add(name, data):
    assert data, name
    FILES[f"{name}.avif"] = data


def coded(draw, depth, layout, cicp, size=(37, 23), *options, range="full"):
    data = draw_avif.y4m(draw, *size, depth, layout, range)
    options = ("--min", "20", "--max", "20", "--cicp", cicp, *options)
    return draw_avif.avifenc([("y4m", data)], *options)


def planes():
    draw = random.Random(3)
    for depth in (8, 10, 12):
        for layout in ("420", "422", "444", "400"):
            add(f"{depth}_{layout}", coded(draw, depth, layout, "1/13/6"))
            data = coded(draw, depth, layout, "1/13/1", (38, 24), range="limited")
            add(f"{depth}_{layout}_limited_709", data)
    for cicp in ("9/16/9", "1/13/4", "1/13/7", "2/2/2", "1/13/12", "9/16/12", "1/13/8"):
        for layout in ("420", "444"):
            name = f"8_{layout}_{cicp.replace('/', '_')}"
            add(name, coded(draw, 8, layout, cicp))
            if cicp != "1/13/8":
                add(f"{name}_limited", coded(draw, 8, layout, cicp, (21, 18), range="limited"))
    add("8_444_rgb", coded(draw, 8, "444", "1/13/0"))
    add("10_444_rgb", coded(draw, 10, "444", "1/13/0"))
    add("8_444_rgb_limited", coded(draw, 8, "444", "1/13/0", (20, 20), range="limited"))
    for size in ((1, 1), (1, 7), (7, 1), (2, 2), (3, 2), (65, 129)):
        add("8_420_%dx%d" % size, coded(draw, 8, "420", "1/13/6", size))
    add("8_420_grain", coded(draw, 8, "420", "1/13/6", (70, 50), "-a", "film-grain-test=3"))
    for angle in range(4):
        for mirror in ([], ["--imir", "0"], ["--imir", "1"]):
            options = ["--irot", str(angle), *mirror]
            name = "turned_" + "_".join(options[1::2])
            add(name, coded(draw, 8, "420", "1/13/6", (13, 9), *options))
    add("cropped", coded(draw, 8, "420", "1/13/6", (40, 20), "--crop", "2,2,20,10"))


def alphas():
    draw = random.Random(4)
    for depth in ("8", "10", "12"):
        for layout in ("420", "422", "444", "400"):
            options = ("-d", depth, "-y", layout, "--min", "10", "--max", "10", "-r", "limited")
            png = draw_avif.png(draw, ["RGBA"], (33, 22))
            add(f"alpha_{depth}_{layout}", draw_avif.avifenc([("png", png)], *options))
            multiplied = draw_avif.avifenc([("png", png)], *options, "-p")
            add(f"alpha_{depth}_{layout}_multiplied", multiplied)


def grids():
    draw = random.Random(5)
    for layout in ("420", "422", "444", "400"):
        tiles = [("y4m", draw_avif.y4m(draw, 64, 66, 8, layout)) for _ in range(6)]
        add(f"grid_{layout}", draw_avif.avifenc(tiles, "--min", "50", "--max", "60", "--grid", "3x2"))
    tiles = [("png", draw_avif.png(draw, ["RGBA"], (64, 64))) for _ in range(2)]
    add("grid_alpha", draw_avif.avifenc(tiles, "--min", "50", "--max", "60", "--grid", "1x2"))


def of_pillow():
    draw = random.Random(6)
    saved = draw_pictures.saved
    for mode in ("L", "RGB", "RGBA"):
        pictures = [draw_pictures.picture(draw, [mode]).resize((40, 30)) for _ in range(3)]
        add(f"pillow_{mode}", saved(pictures[0], "AVIF"))
        options = {"save_all": True, "append_images": pictures[1:], "quality": 40}
        add(f"pillow_{mode}_animated", saved(pictures[0], "AVIF", **options))
    image = draw_pictures.picture(draw, ["RGB"]).resize((150, 140))
    add("pillow_tiles", saved(image, "AVIF", quality=20, tile_rows=1, tile_cols=1))


def box(kind, *parts):
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def full(kind, *parts, version=0):
    return box(kind, struct.pack(">I", version << 24), *parts)


def grid_of_one(tile, shown):
    """A grid of a single tile, of which as much is shown: it is larger than the picture."""
    image = draw_pictures.picture(random.Random(8), ["RGB"]).resize(tile)
    coded = draw_pictures.saved(image, "AVIF", quality=60)
    at = coded.index(b"av1C") - 4
    configuration = coded[at : at + struct.unpack_from(">I", coded, at)[0]]
    bitstream = coded[coded.rindex(b"mdat") + 4 :]
    grid = struct.pack(">BBBBHH", 0, 0, 0, 0, *shown)
    properties = [
        full(b"ispe", struct.pack(">II", *shown)),
        full(b"ispe", struct.pack(">II", *tile)),
        configuration,
        full(b"pixi", bytes([3, 8, 8, 8])),
    ]
    kinds = ((1, b"grid"), (2, b"av01"))
    infos = [full(b"infe", struct.pack(">HH4sx", id, 0, kind), version=2) for id, kind in kinds]

    def file(begin):
        places = struct.pack(">HHHII", 1, 0, 1, begin, len(grid))
        places += struct.pack(">HHHII", 2, 0, 1, begin + len(grid), len(bitstream))
        meta = full(
            b"meta",
            full(b"hdlr", b"\0\0\0\0pict", bytes(13)),
            full(b"pitm", struct.pack(">H", 1)),
            full(b"iinf", struct.pack(">H", 2), *infos),
            box(
                b"iprp",
                box(b"ipco", *properties),
                full(b"ipma", struct.pack(">IHBBBHBBBB", 2, 1, 2, 1, 4, 2, 3, 2, 3, 4)),
            ),
            full(b"iloc", struct.pack(">HH", 0x4400, 2), places),
            full(b"iref", box(b"dimg", struct.pack(">HHH", 1, 1, 2))),
        )
        head = box(b"ftyp", b"avif\0\0\0\0avifmif1") + meta
        return len(head), head + box(b"mdat", grid, bitstream)

    begin, _ = file(0)
    return file(begin + 8)[1]


def grids_of_one():
    for tile, shown in (((128, 128), (128, 128)), ((128, 128), (100, 90)), ((256, 64), (64, 64))):
        add("grid_of_one_%dx%d_of_%dx%d" % (*shown, *tile), grid_of_one(tile, shown))
    # No row of the picture is as long as one of the tile.
    add("grid_of_one_8x8_of_1024x64", grid_of_one((1024, 64), (8, 8)))


def boxed(data, old, new):
    """Other bytes in the place of the first ones that are these."""
    assert data.count(old) >= 1 and len(old) == len(new), old
    return data.replace(old, new, 1)


def damaged():
    """Files that contradict themselves."""
    data = FILES["8_420.avif"]
    size = b"ispe" + struct.pack(">III", 0, 37, 23)
    add("wrong_larger", boxed(data, size, b"ispe" + struct.pack(">III", 0, 370, 230)))
    add("wrong_huge", boxed(data, size, b"ispe" + struct.pack(">III", 0, 60000, 60000)))
    add("wrong_zero", boxed(data, size, b"ispe" + struct.pack(">III", 0, 0, 23)))
    add("wrong_cut", data[: len(data) // 2])
    add("wrong_no_primary", boxed(data, b"pitm\0\0\0\0\0\x01", b"pitm\0\0\0\0\0\x09"))
    add("wrong_essential", boxed(data, b"av1C", b"zzzz"))
    grid = FILES["grid_420.avif"]
    add("wrong_grid", boxed(grid, b"\0\0\x01\x02\0\xc0\0\x84", b"\0\0\x02\x02\0\xc0\0\x84"))
    animated = FILES["pillow_RGB_animated.avif"]
    add("wrong_animated", animated[: len(animated) // 3])


def large():
    """Two that say much and are little, for what decoding takes in memory."""
    y, x = np.mgrid[0:4096, 0:4096]
    pixels = np.stack([x // 16, y // 16, (x + y) // 32], -1).astype(np.uint8)
    image = Image.fromarray(pixels)
    plain = draw_pictures.saved(image, "AVIF", quality=1, speed=10)
    options = ("--min", "63", "--max", "63", "-d", "10", "-y", "444", "-a", "film-grain-test=2")
    deep = draw_avif.avifenc([("png", draw_pictures.saved(image, "PNG"))], *options)
    (LARGE / "large.avif").write_bytes(plain)
    (LARGE / "large_10_bits.avif").write_bytes(deep)


def main():
    assert PIL.__version__ == "13.0.0", PIL.__version__
    for make in (planes, alphas, grids, grids_of_one, of_pillow, damaged):
        make()
    large()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    lines = []
    for name, data in sorted(FILES.items()):
        (OUT / name).write_bytes(data)
        said = draw_pictures.pillow(data)
        said = {key: value for key, value in said.items() if key != "error"}
        if name.startswith("turned"):
            with Image.open(OUT / name) as image:
                turned = ImageOps.exif_transpose(image).convert("RGB")
            said["turned"] = hashlib.sha256(turned.tobytes()).hexdigest()
            said["turned_width"] = turned.width
        lines.append(f"{json.dumps(name)}: {json.dumps(said)}")
    versions = {"pillow": PIL.__version__, "avif": features.version("avif")}
    text = '{\n"made_with": ' + json.dumps(versions) + ',\n"files": {\n'
    (OUT / "expected.json").write_text(text + ",\n".join(lines) + "\n}\n}\n")
    print(len(FILES), "files,", sum(map(len, FILES.values())), "bytes")


if __name__ == "__main__":
    main()
