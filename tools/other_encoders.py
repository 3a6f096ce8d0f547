"""Picture files by encoders other than Pillow's, and of kinds that no encoder here writes: for
tools/draw_pictures.py. Needs imagecodecs, tifffile, opencv-python-headless, pyvips (with
pyvips-binary) and pillow-avif-plugin, but each for its own formats only.

Each function takes the generator and a picture (rows, columns, 4 channels of 8 bits) and returns
a file, or None where the encoder does not take what was drawn.
"""

import io
import struct

import numpy as np
from PIL import Image

import make_image_fixtures as fixtures


def vips_image(pixels):
    import pyvips

    height, width, bands = pixels.shape
    format = {"uint8": "uchar", "uint16": "ushort", "float32": "float", "float64": "double"}[str(pixels.dtype)]
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(pixels).tobytes(), width, height, bands, format)
    wide = pixels.dtype == np.uint16
    return image.copy(interpretation=("grey16" if wide else "b-w") if bands < 3 else ("rgb16" if wide else "srgb"))


def some_bands(draw, pixels, counts=(1, 2, 3, 4)):
    return pixels[..., : draw.choice(counts)]


def some_depth(draw, pixels):
    return pixels.astype(np.uint16) * 257 ^ 0x0103 if draw.random() < 0.3 else pixels


def opencv(draw, suffix, pixels, flags):
    import cv2

    shaped = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    done, data = cv2.imencode(suffix, np.ascontiguousarray(shaped), flags)
    return data.tobytes() if done else None


def jpeg(draw, pixels):
    import imagecodecs

    kind = draw.choice(["vips", "vips", "opencv", "imagecodecs", "hand", "hand", "mpo", "ultra"])
    if kind == "vips":
        options = {"Q": draw.choice([1, 20, 75, 95, 100]), "interlace": draw.random() < 0.5}
        options |= {"optimize_coding": draw.random() < 0.5, "subsample_mode": draw.choice(["on", "off", "auto"])}
        if draw.random() < 0.3:
            options |= {"trellis_quant": True, "overshoot_deringing": True, "optimize_scans": True, "quant_table": draw.randint(0, 8)}
        options["restart_interval"] = draw.choice([0, 0, 1, 3])
        return vips_image(some_bands(draw, pixels, (1, 3))).jpegsave_buffer(**options)
    if kind == "opencv":
        flags = [1, draw.choice([5, 60, 95]), 2, draw.randint(0, 1), 3, draw.randint(0, 1), 4, draw.choice([0, 2])]
        flags += [7, draw.choice([0x411111, 0x221111, 0x211111, 0x121111, 0x111111])]
        return opencv(draw, ".jpg", some_bands(draw, pixels, (1, 3)), flags)
    if kind == "imagecodecs":
        bands = draw.choice([1, 3, 4])
        space = {1: "GRAYSCALE", 3: draw.choice(["RGB", "YCBCR"]), 4: draw.choice(["CMYK", "YCCK"])}[bands]
        data = np.ascontiguousarray(pixels[..., :bands].squeeze(2) if bands == 1 else pixels[..., :bands])
        sampling = draw.choice(["444", "422", "420", "411", "440"]) if space in ("YCBCR",) else None
        into = {"GRAYSCALE": "GRAYSCALE", "RGB": "RGB", "YCBCR": "RGB", "CMYK": "CMYK", "YCCK": "CMYK"}[space]
        if draw.random() < 0.1:
            return imagecodecs.jpeg8_encode(data, lossless=True, predictor=draw.randint(1, 7))
        return imagecodecs.jpeg8_encode(
            data, draw.choice([10, 90, 100]), colorspace=into, outcolorspace=space, subsampling=sampling, smoothing=draw.choice([0, 50])
        )
    if kind == "ultra":
        tall, wide = -(-pixels.shape[0] // 8) * 8, -(-pixels.shape[1] // 8) * 8
        light = np.resize(pixels, (max(16, tall), max(16, wide), 4)).astype(np.float16) / 64
        return imagecodecs.ultrahdr_encode(light)
    if kind == "mpo":
        first, second = (Image.fromarray(np.ascontiguousarray(part)) for part in (pixels[..., :3], 255 - pixels[..., :3]))
        out = io.BytesIO()
        first.save(out, "MPO", save_all=True, append_images=[second], quality=draw.choice([50, 90]))
        return out.getvalue()
    planes = fixtures.ycc(np.ascontiguousarray(pixels[..., :3])) + [pixels[..., 3]]
    count = draw.choice([1, 2, 3, 3, 3, 4])
    factors = [(draw.choice([1, 2, 4]), draw.choice([1, 2, 4]))] + [(draw.choice([1, 1, 2]), draw.choice([1, 1, 2]))] * (count - 1)
    if draw.random() < 0.3:
        factors = [(draw.choice([1, 2]), draw.choice([1, 2])) for _ in range(count)]
    while sum(h * v for h, v in factors) > 10 or any(max(h for h, _ in factors) % h or max(v for _, v in factors) % v for h, v in factors):
        factors = [(draw.choice([1, 2]), draw.choice([1, 2]))] + [(1, 1)] * (count - 1)
    before = draw.choice([b"", fixtures.JFIF, fixtures.ADOBE + b"\0", fixtures.ADOBE + b"\1", fixtures.ADOBE + b"\2", fixtures.JFIF + fixtures.ADOBE + b"\0"])
    ids = draw.choice([None, None, [82, 71, 66, 65], [0, 1, 2, 3], [1, 34, 35, 4], [2, 1, 3, 4], [1, 1, 1, 1]])
    return fixtures.jpeg(
        planes[:count],
        factors,
        step=draw.choice([1, 6, 40]),
        restart=draw.choice([0, 0, 1, 4]),
        ids=ids and ids[:count],
        before=before,
        interleaved=draw.random() < 0.7,
        sof=draw.choice([0xC0, 0xC0, 0xC1]),
    )


def png(draw, pixels):
    import imagecodecs

    kind = draw.choice(["vips", "opencv", "imagecodecs", "apng", "hand", "hand", "hand"])
    if kind == "vips":
        options = {"interlace": draw.random() < 0.5, "compression": draw.choice([0, 1, 9])}
        image = some_depth(draw, some_bands(draw, pixels))
        if image.dtype == np.uint8 and draw.random() < 0.4:
            options |= {"palette": True, "bitdepth": draw.choice([1, 2, 4, 8])}
        return vips_image(image).pngsave_buffer(**options)
    if kind == "opencv":
        return opencv(draw, ".png", some_depth(draw, some_bands(draw, pixels, (1, 3, 4))), [16, draw.randint(0, 9), 17, draw.randint(0, 4)])
    if kind == "imagecodecs":
        image = np.ascontiguousarray(some_depth(draw, some_bands(draw, pixels)))
        return imagecodecs.png_encode(image, draw.choice([0, 5, 9]), strategy=draw.randint(0, 4), filter=draw.choice([8, 16, 32, 64, 128, 248]))
    if kind == "apng":
        bands = draw.choice([3, 4])
        frames = np.stack([pixels[..., :bands], 255 - pixels[..., :bands]])
        return imagecodecs.apng_encode(np.ascontiguousarray(some_depth(draw, frames)), 3, delay=100)
    colour, depths, bands = draw.choice([(0, (1, 2, 4, 8, 16), 1), (2, (8, 16), 3), (3, (1, 2, 4, 8), 1), (4, (8, 16), 2), (6, (8, 16), 4)])
    depth = draw.choice(depths)
    samples = pixels[..., :bands].astype(int)
    samples = samples * 257 ^ 0x55 if depth == 16 else samples >> 8 - depth
    extra = b""
    if colour == 3 or (colour in (2, 6) and draw.random() < 0.2):
        extra = fixtures.chunk(b"PLTE", draw.randbytes(3 * draw.choice([1 << min(depth, 8), 1, 3, 200 if depth > 7 else 2])))
    if draw.random() < 0.4 and colour in (0, 2, 3):
        length = {0: 2, 2: 6, 3: draw.choice([0, 1, 2, 256])}[colour]
        extra += fixtures.chunk(b"tRNS", draw.choice([draw.randbytes(length), bytes(length)]))
    return fixtures.png(samples, depth, colour, draw.random() < 0.4, extra)


def gif(draw, pixels):
    import imagecodecs

    kind = draw.choice(["vips", "vips", "opencv", "imagecodecs", "hand", "hand", "hand"])
    if kind == "vips":
        import pyvips

        image = vips_image(some_bands(draw, pixels, (1, 3, 4)))
        options = {"bitdepth": draw.randint(1, 8), "dither": draw.choice([0.0, 1.0]), "effort": draw.randint(1, 10), "interlace": draw.random() < 0.3}
        if draw.random() < 0.3:
            tall = pyvips.Image.arrayjoin([image, image.invert()], across=1)
            image = tall.copy()
            image.set_type(pyvips.GValue.gint_type, "page-height", pixels.shape[0])
        return image.gifsave_buffer(**options)
    if kind == "opencv":
        return opencv(draw, ".gif", some_bands(draw, pixels, (3, 4)), [])
    if kind == "imagecodecs":
        table = np.frombuffer(draw.randbytes(768), np.uint8).reshape(256, 3).copy()
        return imagecodecs.gif_encode(np.ascontiguousarray(pixels[..., 0]), colormap=draw.choice([None, table]))
    return gif_by_hand(draw, pixels[..., 0])


def gif_codes(samples, smallest):
    """LZW that clears its table before it would widen codes."""
    clear, bits, count, value, out = 1 << smallest, smallest + 1, 0, 0, bytearray()
    codes, room = [clear], (1 << smallest) - 2
    for n, sample in enumerate(samples):
        if n and n % max(1, room) == 0:
            codes.append(clear)
        codes.append(int(sample) & clear - 1)
    for code in [*codes, clear + 1]:
        value |= code << count
        count += bits
        while count >= 8:
            out.append(value & 255)
            value, count = value >> 8, count - 8
    if count:
        out.append(value & 255)
    return bytes([smallest]) + b"".join(bytes([len(out[n : n + 255])]) + bytes(out[n : n + 255]) for n in range(0, len(out), 255)) + b"\0"


def gif_by_hand(draw, samples):
    """A frame on a screen of another size, with tables of its own, none, or the screen's."""
    height, width = samples.shape
    depth = draw.randint(1, 8)
    screen = draw.choice([(width, height)] * 3 + [(width + 5, height + 3), (max(1, width - 3), max(1, height - 2)), (0, 0), (1, 1)])
    place = draw.choice([(0, 0)] * 3 + [(2, 1), (5, 3), (90, 90)])
    table = draw.random() < 0.7
    out = draw.choice([b"GIF89a", b"GIF87a"]) + struct.pack("<HH", *screen)
    out += bytes([(0x80 if table else 0) | draw.choice([0, 0x70]) | depth - 1, draw.randint(0, 255), draw.choice([0, 49])])
    if table:
        out += draw.choice([draw.randbytes(3 << depth), bytes(v for n in range(1 << depth) for v in [n * 255 // ((1 << depth) - 1)] * 3), bytes(v for n in range(1 << depth) for v in [n] * 3)])
    if draw.random() < 0.4:
        out += b"!\xf9\4" + bytes([draw.choice([0, 1, 1, 5, 9])]) + b"\0\0" + bytes([draw.randint(0, (1 << depth) - 1)]) + b"\0"
    own = draw.random() < 0.4
    out += b"," + struct.pack("<HHHH", *place, width, height) + bytes([(0x80 if own else 0) | draw.choice([0, 0, 0x40]) | depth - 1])
    if own:
        out += draw.randbytes(3 << depth)
    smallest = draw.choice([max(2, depth)] * 4 + [1, 8, 11])
    return out + gif_codes(samples.reshape(-1) >> 8 - depth, min(smallest, 8)) + b";"


def webp(draw, pixels):
    import imagecodecs

    kind = draw.choice(["vips", "vips", "opencv", "imagecodecs"])
    if kind == "vips":
        options = {"Q": draw.choice([1, 50, 100]), "lossless": draw.random() < 0.3, "near_lossless": draw.random() < 0.2}
        options |= {"alpha_q": draw.choice([0, 50, 100]), "effort": draw.randint(0, 6), "smart_subsample": draw.random() < 0.3}
        options |= {"preset": draw.choice(["default", "picture", "photo", "drawing", "icon", "text"])}
        return vips_image(some_bands(draw, pixels, (1, 3, 4))).webpsave_buffer(**options)
    if kind == "opencv":
        return opencv(draw, ".webp", some_bands(draw, pixels, (1, 3, 4)), [64, draw.choice([1, 80, 101])])
    return imagecodecs.webp_encode(np.ascontiguousarray(some_bands(draw, pixels, (3, 4))), draw.choice([1, 60, 100]), lossless=draw.random() < 0.4, method=draw.randint(0, 6))


def bmp(draw, pixels):
    import imagecodecs

    kind = draw.choice(["opencv", "imagecodecs", "hand", "hand", "hand", "runs", "runs"])
    if kind == "opencv":
        return opencv(draw, ".bmp", some_bands(draw, pixels, (1, 3, 4)), [])
    if kind == "imagecodecs":
        bands = draw.choice([1, 3])
        return imagecodecs.bmp_encode(np.ascontiguousarray(pixels[..., 0] if bands == 1 else pixels[..., :3]))
    height, width = pixels.shape[:2]
    if kind == "runs":
        bits = draw.choice([4, 8])
        return fixtures.bmp(width, height, bits, bmp_runs(draw, width, height), {8: 1, 4: 2}[bits], palette=palette(draw, 1 << bits, 4), top_down=draw.random() < 0.1)
    bits = draw.choice([1, 1, 2, 4, 8, 16, 24, 32])
    header = draw.choice([12, 40, 40, 40, 52, 56, 64, 108, 124])
    if bits <= 8:
        rows = fixtures.bmp_rows((pixels[..., :1].astype(int) >> 8 - bits), bits)
        count = draw.choice([0, 0, 1, 2, 1 << bits, 257, 300]) if header != 12 else 0
        table = palette(draw, count or 1 << bits, 3 if header == 12 else 4)
        offset = draw.choice([None, None, None, 0, 54])
        return fixtures.bmp(width, height, bits, rows, palette=table, colours=count, header=header, top_down=draw.random() < 0.3, offset=offset)
    used = bits // 8
    rows = b"".join(row.tobytes()[: width * used].ljust(-(-width * used // 4) * 4, b"\0") for row in pixels)
    masks = draw.choice(
        [(0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0), (0xF00, 0xF0, 0xF, 0xF000), (0xFF0000, 0xFF00, 0xFF, 0), (0xFF, 0xFF00, 0xFF0000, 0xFF000000)]
        + [(0xFF000000, 0xFF0000, 0xFF00, 0xFF), (0xFF000000, 0xFF0000, 0xFF00, 0), (0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0, 0, 0, 0)]
    )
    fields = draw.choice([0, 0, 3, 3, 6])
    words = struct.pack("<4I", *masks)[: draw.choice([12, 16])] if fields or header > 40 else b""
    return fixtures.bmp(width, height, bits, rows, fields, masks=words, header=header, top_down=draw.random() < 0.3)


def palette(draw, count, width):
    kind = draw.choice(["random", "ramp", "small ramp", "black", "white", "two", "equal"])
    if kind == "ramp":
        values = [[n * 255 // max(1, count - 1)] * 3 for n in range(count)]
    elif kind == "small ramp":
        values = [[n] * 3 for n in range(count)]
    elif kind == "black":
        values = [[0] * 3] * count
    elif kind == "white":
        values = [[255] * 3] * count
    elif kind == "two":
        values = ([[0] * 3, [255] * 3] if draw.random() < 0.5 else [[255] * 3, [0] * 3]) * (count // 2 + 1)
    elif kind == "equal":
        values = [[draw.randint(0, 255)] * 3] * count
    else:
        values = [[draw.randint(0, 255) for _ in range(3)] for _ in range(count)]
    return b"".join((bytes(number & 255 for number in value) + b"\0")[:width] for value in values[:count])


def bmp_runs(draw, width, height):
    """Codes by chance: runs, literals, ends of lines, jumps; more or fewer than are needed."""
    out = b""
    for _ in range(draw.choice([height, height, 3 * height, 2])):
        for _ in range(draw.randint(1, 4)):
            kind = draw.choice(["run", "run", "literal", "jump"] if draw.random() < 0.2 else ["run", "run", "literal"])
            if kind == "run":
                out += bytes([draw.randint(1, min(255, width + 2)), draw.randint(0, 255)])
            elif kind == "jump":
                out += b"\0\2" + bytes([draw.randint(0, 5), draw.randint(0, 3)])
            else:
                count = draw.randint(3, 20)
                used = draw.choice([count, (count + 1) // 2])
                out += bytes([0, count]) + draw.randbytes(used + used % 2)
        out += draw.choice([b"\0\0"] * 9 + [b""])
    return out + draw.choice([b"\0\1", b"\0\1", b""])


def tiff(draw, pixels):
    kind = draw.choice(["tifffile", "tifffile", "tifffile", "vips", "vips", "opencv"])
    if kind == "opencv":
        flags = [259, draw.choice([1, 5, 8, 32773, 32946]), 278, draw.choice([1, 7, 64])]
        return opencv(draw, ".tiff", some_depth(draw, some_bands(draw, pixels, (1, 3, 4))), flags)
    if kind == "vips":
        image = vips_image(some_depth(draw, some_bands(draw, pixels)))
        packed = draw.choice(["none", "jpeg", "deflate", "packbits", "lzw", "ccittfax4"])
        options = {"compression": packed, "tile": draw.random() < 0.5, "bigtiff": draw.random() < 0.2, "pyramid": draw.random() < 0.1}
        if options["tile"]:
            options |= {"tile_width": draw.choice([16, 32, 64]), "tile_height": draw.choice([16, 48])}
        if packed in ("deflate", "lzw", "zstd"):
            options["predictor"] = draw.choice(["none", "horizontal"])
        if packed == "ccittfax4":
            image, options["bitdepth"] = image[0].cast("uchar"), 1
        elif draw.random() < 0.2 and image.bands == 1 and image.format == "uchar" and packed != "jpeg":
            options["bitdepth"] = draw.choice([1, 2, 4])
        options["miniswhite"] = draw.random() < 0.2
        return image.tiffsave_buffer(**options)
    return tiff_of_tifffile(draw, pixels)


def tiff_of_tifffile(draw, pixels):
    import tifffile

    number = draw.choice(["uint8"] * 5 + ["uint16", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64", "bool"])
    bands = draw.choice([1, 1, 2, 3, 3, 4, 5])
    image = pixels[..., [0, 1, 2, 3, 0][:bands]]
    if number == "bool":
        image = image[..., 0] > 99
    elif number != "uint8":
        image = image.astype(number) * (draw.choice([1, 100]) if number != "int8" else 1)
    options = {}
    if bands in (3, 4) and number in ("uint8", "uint16") and draw.random() < 0.8:
        options["photometric"] = draw.choice(["rgb"] * 4 + ["cielab", "icclab"]) if bands == 3 else draw.choice(["rgb", "separated"])
    else:
        options["photometric"] = draw.choice(["minisblack", "minisblack", "miniswhite"])
    if number == "uint8" and bands == 1 and draw.random() < 0.3:
        options |= {"photometric": "palette", "colormap": np.frombuffer(draw.randbytes(3 * 256 * 2), np.uint16).reshape(3, 256)}
    if bands == 1 and image.ndim == 3:
        image = image[..., 0]
    elif draw.random() < 0.3 and image.ndim == 3:
        image = image.transpose(2, 0, 1)
        options["planarconfig"] = "separate"
    elif image.ndim == 3:
        options["planarconfig"] = "contig"
    if options["photometric"] == "rgb" and bands == 4 or (bands in (2, 5)):
        options["extrasamples"] = draw.choice([["unspecified"], ["assocalpha"], ["unassalpha"]])
        if bands == 5:
            options["photometric"], options["extrasamples"] = draw.choice([("rgb", ["unspecified"] * 2), ("separated", ["unassalpha"])])
    packed = draw.choice([None, None, "lzw", "zlib", "zstd", "lzma", "packbits", "jpeg", "deflate", "webp", "lerc", "jpeg2000"])
    options["compression"] = packed
    if packed in ("lzw", "zlib", "zstd", "lzma", "deflate") and number != "bool":
        options["predictor"] = draw.choice([None, True])
    if packed == "jpeg" and options["photometric"] == "rgb" and bands == 3 and draw.random() < 0.6:
        options["photometric"] = "ycbcr"
        options["subsampling"] = draw.choice([(1, 1), (2, 1), (2, 2), (1, 2), (4, 1)])
    if draw.random() < 0.4:
        options["tile"] = (draw.choice([16, 32, 48]), draw.choice([16, 32, 64]))
    else:
        options["rowsperstrip"] = draw.choice([1, 7, 8, 16, 1000])
    tags = []
    if draw.random() < 0.3:
        tags.append((274, draw.choice([3, 3, 1]), 1, draw.randint(0, 9), True))
    if draw.random() < 0.1:
        tags.append((285, 2, 5, "page", True))
    out = io.BytesIO()
    # Pillow knows no big-endian BigTIFF.
    big = draw.random() < 0.2
    order = "<" if big else draw.choice("<>")
    with tifffile.TiffWriter(out, bigtiff=big, byteorder=order) as writer:
        writer.write(np.ascontiguousarray(image), extratags=tags, metadata=None, **options)
    return out.getvalue()


def avif_plugin():
    """The plugin, without what it does to Pillow: the truth is Pillow's own decoder."""
    Image.init()
    known = [Image.OPEN, Image.SAVE, Image.SAVE_ALL, Image.EXTENSION, Image.MIME]
    before = [dict(table) for table in known]
    import pillow_avif

    for table, entries in zip(known, before):
        table.clear()
        table.update(entries)
    return pillow_avif


def avif(draw, pixels):
    import imagecodecs

    kind = draw.choice(["vips", "vips", "imagecodecs", "imagecodecs", "plugin", "opencv"])
    if kind == "vips":
        image = vips_image(some_depth(draw, some_bands(draw, pixels, (1, 3, 4))))
        options = {"compression": "av1", "Q": draw.choice([1, 50, 95]), "effort": 0, "bitdepth": draw.choice([8, 10, 12])}
        options |= {"lossless": draw.random() < 0.2, "subsample_mode": draw.choice(["on", "off", "auto"])}
        return image.heifsave_buffer(**options)
    if kind == "opencv":
        return opencv(draw, ".avif", some_bands(draw, pixels, (3, 4)), [512, draw.choice([1, 60, 100]), 514, 9])
    if kind == "plugin":
        pillow_avif = avif_plugin()
        out = io.BytesIO()
        image = Image.fromarray(np.ascontiguousarray(some_bands(draw, pixels, (3, 4))))
        options = {"subsampling": draw.choice(["4:2:0", "4:2:2", "4:4:4", "4:0:0"]), "range": draw.choice(["full", "limited"])}
        options |= {"speed": 10, "quality": draw.choice([1, 60, 100]), "alpha_premultiplied": draw.random() < 0.3}
        if draw.random() < 0.3:
            options |= {"save_all": True, "append_images": [image.rotate(180)] * 2}
        image.encoderinfo, image.encoderconfig = options, ()
        save = pillow_avif.AvifImagePlugin._save_all if "save_all" in options else pillow_avif.AvifImagePlugin._save
        save(image, out, "x.avif")
        return out.getvalue()
    depth = draw.choice([8, 8, 10, 12])
    bands = draw.choice([1, 3, 4])
    image = pixels[..., 0] if bands == 1 else pixels[..., :bands]
    image = np.ascontiguousarray(image if depth == 8 else (image.astype(np.uint16) << depth - 8) + 3)
    if draw.random() < 0.3 and bands > 1:
        image = np.stack([image, image[::-1]])
    # With a bit of the logarithm of tiles, several pictures are cells of a grid.
    form = {1: "400"}.get(bands) or draw.choice(["420", "422", "444"])
    matrix = draw.choice([None, 1, 5, 6, 9]) if form != "444" else draw.choice([None, 0, 1, 6, 8, 9])
    return imagecodecs.avif_encode(image, draw.choice([5, 60, 100]), speed=10, bitspersample=depth, pixelformat=form, matrix=matrix)


def pnm(draw, pixels):
    height, width = pixels.shape[:2]
    kind = draw.choice(["opencv", "hand", "hand", "hand"])
    if kind == "opencv":
        suffix, bands = draw.choice([(".pgm", 1), (".ppm", 3), (".pbm", 1), (".pfm", 1), (".pam", 4)])
        image = pixels[..., :bands]
        if suffix == ".pfm":
            image = image.astype(np.float32) * draw.choice([1, 1.5])
        elif suffix in (".pgm", ".ppm"):
            image = some_depth(draw, image)
        return opencv(draw, suffix, image, [32, draw.randint(0, 1)] if suffix in (".pgm", ".ppm", ".pbm") else [])
    digit = draw.randint(1, 6)
    bands = 3 if digit in (3, 6) else 1
    space = lambda: draw.choice([b" ", b"\n", b"\t", b"\r\n", b"  ", b"\n# words\n", b" #\n", b"\r", b"\x0b", b"\x0c"] if draw.random() < 0.3 else [b" ", b"\n"])
    most = draw.choice([1, 2, 7, 15, 100, 254, 255, 255, 256, 300, 1023, 4095, 65534, 65535])
    out = b"P%d" % digit + space() + b"%d" % width + space() + b"%d" % height
    samples = pixels[..., :bands].reshape(height, -1).astype(int)
    if digit in (1, 4):
        bits = samples >> 7
        if digit == 4:
            return out + draw.choice([b"\n", b" ", b"\t"]) + b"".join(np.packbits(row.astype(np.uint8)).tobytes() for row in bits)
        return out + space() + draw.choice([b"", b" "]).join(b"%d" % value for value in bits.reshape(-1)) + draw.choice([b"", b"\n"])
    out += space() + b"%d" % most
    samples = samples * most // 255 if draw.random() < 0.8 else samples
    if digit in (2, 3):
        return out + space() + b"".join(b"%d" % value + space() for value in samples.reshape(-1))
    return out + draw.choice([b"\n", b" ", b"\t"]) + samples.astype(">u2" if most > 255 else np.uint8).tobytes()


def tga(draw, pixels):
    height, width = pixels.shape[:2]
    kind = draw.choice([1, 2, 3, 9, 10, 11])
    depth = {1: 8, 3: draw.choice([8, 16])}.get(kind & 7, draw.choice([15, 16, 24, 32]))
    used = -(-depth // 8)
    start, count, bits = (draw.choice([0, 0, 3]), draw.choice([256, 100, 2]), draw.choice([15, 16, 24, 32])) if kind & 7 == 1 else (0, 0, 0)
    table = draw.randbytes(count * -(-bits // 8))
    if kind & 7 != 1 and draw.random() < 0.2:
        count, bits = 4, 24
        table = draw.randbytes(12)
    name = draw.randbytes(draw.choice([0, 0, 0, 5]))
    flags = draw.choice([0, 8, 0x10, 0x20, 0x28, 0x30, 0x40])
    out = struct.pack("<BBBHHBHHHHBB", len(name), int(count > 0), kind, start, count, bits, 0, 0, width, height, depth, flags) + name + table
    data = pixels.reshape(-1, 4)[:, :used].tobytes()
    if kind & 8:
        coded, at, total = b"", 0, width * height
        while at < total:
            if draw.random() < 0.5:
                run = min(draw.randint(1, 128), total - at if draw.random() < 0.95 else 128)
                coded += bytes([0x80 | run - 1]) + data[at * used : at * used + used]
            else:
                run = min(draw.randint(1, 128), total - at)
                coded += bytes([run - 1]) + data[at * used : (at + run) * used]
            at += run
        data = coded
    return out + data + draw.choice([b"", bytes(8) + b"TRUEVISION-XFILE.\0"])


def qoi(draw, pixels):
    import imagecodecs

    if draw.random() < 0.4:
        return imagecodecs.qoi_encode(np.ascontiguousarray(some_bands(draw, pixels, (3, 4))))
    height, width = pixels.shape[:2]
    out, left = b"qoif" + struct.pack(">IIBB", width, height, draw.choice([3, 4]), draw.choice([0, 1])), width * height
    while left > 0:
        kind = draw.choice(["index", "diff", "luma", "run", "rgb", "rgba"])
        out += {
            "index": bytes([draw.randint(0, 63)]),
            "diff": bytes([0x40 | draw.randint(0, 63)]),
            "luma": bytes([0x80 | draw.randint(0, 63), draw.randint(0, 255)]),
            "run": bytes([0xC0 | (run := draw.randint(0, 61))]),
            "rgb": b"\xfe" + draw.randbytes(3),
            "rgba": b"\xff" + draw.randbytes(4),
        }[kind]
        left -= run + 1 if kind == "run" else 1
    return out + draw.choice([bytes(7) + b"\1", b""])


def sun(draw, pixels):
    return opencv(draw, ".ras", some_bands(draw, pixels, (1, 3)), [])


def ico(draw, pixels, kind=1):
    """Several pictures of several sizes and depths."""
    images, directory, count = b"", b"", draw.randint(1, 4)
    at = 6 + 16 * count
    for _ in range(count):
        side = draw.choice([1, 5, 8, 16, 31, 32])
        part = np.resize(pixels, (side, side, 4))
        bits = draw.choice([1, 4, 8, 16, 24, 32])
        if draw.random() < 0.3 and kind == 1:
            data = fixtures.saved(Image.fromarray(part), format="PNG")
        else:
            used = max(1, bits // 8)
            rows = fixtures.bmp_rows(part[..., :1].astype(int) >> 8 - bits, bits) if bits <= 8 else b"".join(
                row.tobytes()[: side * used].ljust(-(-side * used // 4) * 4, b"\0") for row in part
            )
            table = palette(draw, 1 << bits, 4) if bits <= 8 else b""
            mask = draw.randbytes(side * (-(-side // 32) * 4)) if draw.random() < 0.8 else b""
            data = struct.pack("<IiiHHIIiiII", 40, side, 2 * side, 1, bits, 0, 0, 0, 0, draw.choice([0, 0, 1 << bits if bits <= 8 else 0]), 0) + table + rows + mask
        said = draw.choice([side, side, side, 0, side + 1])
        hot = (1, bits if draw.random() < 0.7 else draw.choice([0, 32])) if kind == 1 else (draw.randint(0, 5), draw.randint(0, 5))
        directory += struct.pack("<BBBBHHII", said, said, draw.choice([0, 2, 16]), 0, *hot, len(data), at)
        images, at = images + data, at + len(data)
    return struct.pack("<HHH", 0, kind, count) + directory + images


def cur(draw, pixels):
    return ico(draw, pixels, 2)


def sgi(draw, pixels):
    """With runs by chance, and rows that share them."""
    height, width = pixels.shape[:2]
    bands, depth = draw.choice([1, 2, 3, 4, 5]), draw.choice([1, 2])
    dimension = draw.choice([3, 3, 3, 2, 1]) if bands == 1 else 3
    head = struct.pack(">HBBHHHHII", 474, 1, depth, dimension, width, height, bands, 0, 255) + bytes(492)
    form, starts, lengths, body = ">B" if depth == 1 else ">H", [], [], b""
    at = 512 + 8 * height * bands
    for _ in range(height * bands):
        if starts and draw.random() < 0.2:
            starts.append(starts[-1])
            lengths.append(lengths[-1])
            continue
        row, left = b"", width
        while left > 0:
            run = min(draw.randint(1, 127), left)
            literal = draw.random() < 0.4
            values = [draw.randint(0, 256**depth - 1) for _ in range(run if literal else 1)]
            row += b"".join(struct.pack(form, value) for value in [(0x80 if literal else 0) | run, *values])
            left -= run
        row += struct.pack(form, 0)
        starts.append(at + len(body))
        lengths.append(len(row))
        body += row
    return head + struct.pack(f">{len(starts)}I", *starts) + struct.pack(f">{len(lengths)}I", *lengths) + body


def dds(draw, pixels):
    """Masks and flags by chance."""
    height, width = pixels.shape[:2]
    bits = draw.choice([8, 16, 24, 32])
    flags = draw.choice([0x40, 0x41, 0x20000, 0x20001, 0x20, 0x2, 0x4, 0])
    masks = draw.choice(
        [(0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xFF, 0xFF00, 0xFF0000, 0xFF000000), (0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0x8000), (0xF00, 0xF0, 0xF, 0xF000)]
        + [(0xFF, 0, 0, 0xFF00), (0xFF, 0xFF, 0xFF, 0), (0, 0, 0, 0), (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000), (0xE0, 0x1C, 3, 0)]
    )
    data = np.resize(pixels, width * height * bits // 8 + 64).astype(np.uint8).tobytes()[: width * height * bits // 8]
    code = draw.choice([bytes(4)] * 4 + [b"DXT1", b"DXT2", b"DXT4", b"ATI1", b"ATI2", b"BC4U", b"BC5S", b"BC5U", b"DX10"])
    flags |= 4 if code != bytes(4) else 0
    if code == b"DX10":
        data = struct.pack("<5I", draw.choice([27, 28, 29, 70, 71, 72, 73, 75, 76, 78, 79, 81, 82, 85, 87, 88, 91, 94, 95, 97, 99]), 3, 0, 1, 0) + data
    head = struct.pack("<7I", 124, 0x1007, height, width, width * bits // 8, 0, draw.choice([0, 1, 3])) + bytes(44)
    head += struct.pack("<2I", 32, flags) + code + struct.pack("<5I", bits, *masks) + struct.pack("<5I", 0x1000, 0, 0, 0, 0)
    table = draw.randbytes(1024) if flags & 0x20 else b""
    return b"DDS " + head + table + data + bytes(16 * (width // 4 + 1) * (height // 4 + 1) if flags & 4 else 0)


DRAWN = {"jpeg": jpeg, "png": png, "gif": gif, "webp": webp, "bmp": bmp, "tiff": tiff, "avif": avif, "pnm": pnm, "tga": tga}
DRAWN |= {"qoi": qoi, "sun": sun, "ico": ico, "cur": cur, "sgi": sgi, "dds": dds}
