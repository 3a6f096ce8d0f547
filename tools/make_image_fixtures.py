"""Draws small images of every kind that the service decodes, and records Pillow's pixels
for them: the expected results of crates/image/tests/it/decode.rs.

    python tools/make_image_fixtures.py

Needs numpy and Pillow 13.0.0. Deterministic: the pictures come from formulas and one
seeded generator. What Pillow's own encoders cannot write (JPEG with 4:4:0 or 4:1:1
chroma, PNG of 2 and 4 bits, bitmaps with masks and run lengths, GIFs whose first frame
lies within a larger screen, planar and tiled TIFFs) is written here by hand.

tests/fixtures/images/expected.json then has for each file
    {"width", "height", "sha256"}     of the RGB bytes of Image.open(f).convert("RGB"),
                                      the first 32 digits
    {"error": "..."}                  if Pillow refuses it
and under "variants" the same for damaged versions, which are not stored: a file truncated
to a number of bytes, or with one byte changed (`[position, exclusive-or]`).
"""

import hashlib
import io
import json
import lzma
import pathlib
import random
import re
import shutil
import struct
import warnings
import zlib

import numpy as np
import PIL
from PIL import Image, features

OUT = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "images"
FILES = {}
warnings.simplefilter("ignore")


def picture(width, height, seed=1, noise=13):
    """A smooth gradient with edges, a disc and some noise: RGB, uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    rng = np.random.default_rng(seed)
    red = 255 * x / max(width - 1, 1)
    green = 255 * y / max(height - 1, 1)
    blue = 127 + 127 * np.sin((x + 2 * y) / 5 + seed)
    out = np.stack([red, green, blue], -1)
    disc = (x - width * 0.6) ** 2 + (y - height * 0.4) ** 2 < (min(width, height) / 4) ** 2
    out[disc] = [250, 30, 60]
    out[(x // 7 % 4 == 0) & (y > height / 2)] *= 0.3
    out += rng.normal(0, noise, out.shape)
    return np.clip(out, 0, 255).astype(np.uint8)


def grey(width, height, seed=1):
    return picture(width, height, seed)[..., 1]


def add(name, data):
    assert name not in FILES, name
    FILES[name] = data


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


# --- JPEG -----------------------------------------------------------------------


def segments(data):
    """(marker, body) of a JPEG's segments up to the first scan."""
    at = 2
    while True:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        yield marker, data[at + 4 : at + 2 + length]
        if marker == 0xDA:
            return
        at += 2 + length


def huffman_tables():
    """The standard's tables, taken from a file that Pillow wrote."""
    tables, raw = {}, b""
    for marker, body in segments(saved(Image.new("RGB", (8, 8)), format="JPEG")):
        if marker != 0xC4:
            continue
        raw += b"\xff\xc4" + struct.pack(">H", len(body) + 2) + body
        while body:
            kind, counts = body[0], body[1:17]
            codes, code, at = {}, 0, 17
            for length, count in enumerate(counts, 1):
                for _ in range(count):
                    codes[body[at]] = (code, length)
                    code, at = code + 1, at + 1
                code <<= 1
            tables[kind] = codes
            body = body[at:]
    return tables, raw


HUFFMAN, HUFFMAN_SEGMENTS = huffman_tables()


def zigzag_order():
    order = []
    for total in range(15):
        cells = [(total - column, column) for column in range(8) if 0 <= total - column < 8]
        order += cells if total % 2 == 0 else cells[::-1]
    return [row * 8 + column for row, column in order]


ZIGZAG = zigzag_order()
DCT = np.array(
    [
        [np.sqrt((1 if k == 0 else 2) / 8) * np.cos((2 * n + 1) * k * np.pi / 16) for n in range(8)]
        for k in range(8)
    ]
)


class Bits:
    def __init__(self):
        self.out, self.value, self.count = bytearray(), 0, 0

    def put(self, value, length):
        for bit in range(length - 1, -1, -1):
            self.value = self.value << 1 | (value >> bit & 1)
            self.count += 1
            if self.count == 8:
                self.out.append(self.value)
                if self.value == 0xFF:
                    self.out.append(0)
                self.value = self.count = 0

    def flush(self):
        while self.count:
            self.put(1, 1)


def jpeg(planes, factors, step=6, restart=0, ids=None, before=b"", interleaved=True, sof=0xC0):
    """A sequential JPEG of full-size planes, each reduced to its sampling factors
    (horizontal, vertical) by averaging. `before` is put after the start marker."""
    height, width = planes[0].shape
    ids = ids or list(range(1, len(planes) + 1))
    hmax, vmax = max(h for h, _ in factors), max(v for _, v in factors)
    blocks = []
    for plane, (h, v) in zip(planes, factors):
        mcu_w, mcu_h = 8 * hmax, 8 * vmax
        padded = np.pad(plane.astype(float), ((0, -height % mcu_h), (0, -width % mcu_w)), "edge")
        dy, dx = vmax // v, hmax // h
        small = padded.reshape(padded.shape[0] // dy, dy, padded.shape[1] // dx, dx).mean((1, 3))
        rows, columns = small.shape[0] // 8, small.shape[1] // 8
        cells = (small - 128).reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)
        blocks.append(np.rint(DCT @ cells @ DCT.T / step).astype(int).reshape(rows, columns, 64))
    out = b"\xff\xd8" + before
    out += b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([step] * 64)
    frame = struct.pack(">BHHB", 8, height, width, len(planes))
    for i, (h, v) in zip(ids, factors):
        frame += bytes([i, h << 4 | v, 0])
    out += bytes([0xFF, sof]) + struct.pack(">H", len(frame) + 2) + frame + HUFFMAN_SEGMENTS
    if restart:
        out += b"\xff\xdd" + struct.pack(">HH", 4, restart)
    scans = [range(len(planes))] if interleaved else [[c] for c in range(len(planes))]
    for scan in scans:
        body = bytes([len(scan)])
        for c in scan:
            body += bytes([ids[c], 0x00 if c == 0 or c == 3 else 0x11])
        body += bytes([0, 63, 0])
        out += b"\xff\xda" + struct.pack(">H", len(body) + 2) + body
        out += scan_data(blocks, factors, scan, restart, width, height, hmax, vmax)
    return out + b"\xff\xd9"


def scan_data(blocks, factors, scan, restart, width, height, hmax, vmax):
    bits, out, previous, done = Bits(), b"", {c: 0 for c in scan}, 0
    if len(scan) == 1:
        h, v = factors[scan[0]]
        across = -(-(-(-width * h // hmax)) // 8)
        down = -(-(-(-height * v // vmax)) // 8)
        units = [[(scan[0], y, x)] for y in range(down) for x in range(across)]
    else:
        units = []
        for my in range(-(-height // (8 * vmax))):
            for mx in range(-(-width // (8 * hmax))):
                unit = []
                for c in scan:
                    h, v = factors[c]
                    unit += [(c, my * v + y, mx * h + x) for y in range(v) for x in range(h)]
                units.append(unit)
    for n, unit in enumerate(units):
        if restart and n and n % restart == 0:
            bits.flush()
            out += bytes(bits.out) + bytes([0xFF, 0xD0 + done % 8])
            bits, previous, done = Bits(), {c: 0 for c in scan}, done + 1
        for c, y, x in unit:
            table = 0 if c == 0 or c == 3 else 1
            values = [blocks[c][y, x][i] for i in ZIGZAG]
            put(bits, HUFFMAN[table], values[0] - previous[c], 0)
            previous[c], run = values[0], 0
            last = max([i for i in range(64) if values[i]], default=0)
            for value in values[1 : last + 1]:
                if value == 0:
                    run += 1
                    continue
                while run > 15:
                    bits.put(*HUFFMAN[0x10 + table][0xF0])
                    run -= 16
                put(bits, HUFFMAN[0x10 + table], value, run)
                run = 0
            if last < 63:
                bits.put(*HUFFMAN[0x10 + table][0])
    bits.flush()
    return out + bytes(bits.out)


def put(bits, codes, value, run):
    value = int(value)
    size = abs(value).bit_length()
    bits.put(*codes[run << 4 | size])
    bits.put(value if value >= 0 else value + (1 << size) - 1, size)


def ycc(pixels):
    return [np.asarray(plane) for plane in Image.fromarray(pixels).convert("YCbCr").split()]


ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def jpegs():
    big = Image.fromarray(picture(61, 43))
    for name, options in {
        "444": {"subsampling": 0},
        "422": {"subsampling": 1},
        "420": {"subsampling": 2},
        "420_progressive": {"subsampling": 2, "progressive": True},
        "444_progressive": {"subsampling": 0, "progressive": True},
        "optimized": {"optimize": True, "quality": 30},
        "quality_98": {"quality": 98, "subsampling": 0},
        "quality_1": {"quality": 1},
        "restart": {"restart_marker_blocks": 2},
        "restart_progressive": {"restart_marker_rows": 1, "progressive": True},
        "exif_rotated": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"},
    }.items():
        add(f"jpeg_{name}.jpg", saved(big, format="JPEG", **{"quality": 80, **options}))
    add("jpeg_grey.jpg", saved(big.convert("L"), format="JPEG"))
    add("jpeg_grey_progressive.jpg", saved(big.convert("L"), format="JPEG", progressive=True))
    for width, height in [(1, 1), (1, 40), (40, 1), (2, 2), (7, 9), (8, 8), (9, 7), (15, 17), (16, 16), (17, 15), (33, 31)]:
        small = Image.fromarray(picture(width, height, seed=width))
        for subsampling, label in [(0, "444"), (2, "420")]:
            name = f"jpeg_{label}_{width}x{height}.jpg"
            add(name, saved(small, format="JPEG", quality=85, subsampling=subsampling))
    cmyk = Image.fromarray(np.dstack([picture(37, 29), 255 - grey(37, 29, 5)]), "CMYK")
    add("jpeg_cmyk.jpg", saved(cmyk, format="JPEG", quality=85))
    add("jpeg_cmyk_progressive.jpg", saved(cmyk, format="JPEG", progressive=True))

    pixels = picture(37, 29, 3)
    one = (1, 1)
    for name, factors in {
        "440": [(1, 2), one, one],
        "411": [(4, 1), one, one],
        "410": [(4, 2), one, one],
        "421": [(2, 2), (1, 2), (1, 2)],
        "441": [(1, 4), one, one],
        "luma_half": [(1, 1), (2, 2), (2, 2)],
        "mixed": [(2, 2), (2, 1), (1, 2)],
    }.items():
        add(f"jpeg_{name}.jpg", jpeg(ycc(pixels), factors, before=JFIF))
        add(f"jpeg_{name}_apart.jpg", jpeg(ycc(pixels), factors, before=JFIF, interleaved=False))
    add("jpeg_420_restart_1.jpg", jpeg(ycc(pixels), [(2, 2), one, one], restart=1))
    add("jpeg_extended.jpg", jpeg(ycc(pixels), [one] * 3, sof=0xC1))
    add("jpeg_grey_2x2.jpg", jpeg([grey(37, 29)], [(2, 2)]))
    rgb = [pixels[..., c] for c in range(3)]
    add("jpeg_rgb_ids.jpg", jpeg(rgb, [one] * 3, ids=[82, 71, 66]))
    add("jpeg_rgb_adobe.jpg", jpeg(rgb, [one] * 3, before=ADOBE + b"\0"))
    add("jpeg_ycc_adobe.jpg", jpeg(ycc(pixels), [one] * 3, before=ADOBE + b"\1"))
    add("jpeg_odd_ids.jpg", jpeg(ycc(pixels), [one] * 3, ids=[0, 1, 2]))
    four = ycc(pixels) + [grey(37, 29, 9)]
    add("jpeg_ycck_adobe.jpg", jpeg(four, [one] * 4, before=ADOBE + b"\2"))
    add("jpeg_ycck_420_adobe.jpg", jpeg(four, [(2, 2), one, one, (2, 2)], before=ADOBE + b"\2"))
    add("jpeg_cmyk_no_adobe.jpg", jpeg(four, [one] * 4))
    add("jpeg_two_components.jpg", jpeg(four[:2], [one] * 2))
    plain = FILES["jpeg_420.jpg"]
    add("jpeg_trailing_garbage.jpg", plain + b"after the end" * 20)
    add("jpeg_twice.jpg", plain + FILES["jpeg_444.jpg"])
    add("jpeg_no_end.jpg", plain[:-2])
    add("jpeg_no_end_progressive.jpg", FILES["jpeg_420_progressive.jpg"][:-2])
    add("jpeg_fill_bytes.jpg", plain[:2] + b"\xff\xff\xff" + plain[2:])
    add("jpeg_junk_between.jpg", plain[:20] + b"junk" + plain[20:])
    add("jpeg_many_comments.jpg", plain[:2] + (b"\xff\xfe\x00\x06abcd" * 50) + plain[2:])
    add("jpeg_thumbnail_in_app.jpg", plain[:2] + b"\xff\xe5" + struct.pack(">H", len(plain) + 2) + plain + plain[2:])
    add("jpeg_many_scans.jpg", many_scans(60))
    add("damaged_jpeg_scan_bomb.jpg", many_scans(1000))
    sof = plain.index(b"\xff\xc0")
    for name, change in {
        "65535": {sof + 5: b"\xff\xff\xff\xff"},
        "zero_height": {sof + 5: b"\0\0"},
        "zero_width": {sof + 7: b"\0\0"},
        "12_bit": {sof + 4: b"\x0c"},
        "lossless": {sof + 1: b"\xc3"},
        "arithmetic": {sof + 1: b"\xc9"},
        "hierarchical": {sof + 1: b"\xc5"},
        "taller_than_data": {sof + 5: b"\0\xff"},
        "no_tables": {plain.index(b"\xff\xdb") + 1: b"\xe1"},
    }.items():
        data = bytearray(plain)
        for at, value in change.items():
            data[at : at + len(value)] = value
        add(f"damaged_jpeg_{name}.jpg", bytes(data))
    add("damaged_jpeg_only_start.jpg", b"\xff\xd8\xff")
    add("damaged_jpeg_only_tables.jpg", plain[:sof] + b"\xff\xd9")


def many_scans(count):
    """A progressive file with extra scans that change nothing."""
    data = saved(Image.fromarray(picture(24, 24)), format="JPEG", progressive=True)
    end = data.rindex(b"\xff\xd9")
    # A DC refinement scan of the first component has one bit per block, here all 0.
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00" + b"\x00\x00\x00"
    return data[:end] + scan * count + data[end:]


# --- PNG ------------------------------------------------------------------------


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(samples, depth):
    """Rows of samples (height, width, channels) as PNG's packed bytes."""
    height = samples.shape[0]
    flat = samples.reshape(height, -1)
    if depth == 16:
        return [row.astype(">u2").tobytes() for row in flat]
    if depth == 8:
        return [row.astype(np.uint8).tobytes() for row in flat]
    bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]


def filtered(rows, size):
    """Rows that cycle through the five filters."""
    out, above = b"", bytes(len(rows[0])) if rows else b""
    for n, row in enumerate(rows):
        kind, line = n % 5, bytearray()
        for i, value in enumerate(row):
            a = row[i - size] if i >= size else 0
            b = above[i]
            c = above[i - size] if i >= size else 0
            p = a + b - c
            paeth = min((a, b, c), key=lambda v: abs(p - v))
            line.append((value - [0, a, b, (a + b) // 2, paeth][kind]) & 255)
        out, above = out + bytes([kind]) + line, row
    return out


def png(samples, depth, kind, interlace=False, extra=b"", idat=None, after=b""):
    height, width, channels = samples.shape
    size = max(1, depth * channels // 8)
    if interlace:
        data = b""
        for y, x, dy, dx in [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]:
            part = samples[y::dy, x::dx]
            if part.size:
                data += filtered(packed(part, depth), size)
    else:
        data = filtered(packed(samples, depth), size)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlace))
    data = zlib.compress(data, 9) if idat is None else idat
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + after
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def png_orders():
    """Chunks before the header, and pictures of which no row is there."""
    samples = grey(19, 13)[..., None]
    file = png(samples, 8, 3, extra=chunk(b"PLTE", np.random.default_rng(5).bytes(768)))
    kinds, at = {}, 8
    while at < len(file):
        length = struct.unpack(">I", file[at : at + 4])[0] + 12
        kinds[file[at + 4 : at + 8]] = file[at : at + length]
        at += length
    header, colours, data, end = (kinds[kind] for kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"))
    for name, parts in {
        "data_before_header": [data, header, colours, data],
        "palette_before_header": [colours, header, data],
        "palette_twice": [colours, header, chunk(b"PLTE", bytes(range(30))), data],
        "transparency_before_header": [chunk(b"tRNS", b""), header, colours, data],
        "only_data_before_header": [data, header, colours],
    }.items():
        add(f"png_{name}.png", file[:8] + b"".join(parts) + end)
    spoilt = data[:-1] + bytes([data[-1] ^ 1])
    add("damaged_png_data_before_header.png", file[:8] + spoilt + header + colours + data + end)
    for name, rows in {"no": b"", "one": bytes(20), "half_a": bytes(9)}.items():
        add(f"png_{name}_row.png", png(samples, 8, 0, idat=zlib.compress(rows)))
        add(f"png_{name}_row_interlaced.png", png(samples, 8, 0, True, idat=zlib.compress(rows)))
        # What is missing is of the first colour.
        table = chunk(b"PLTE", bytes([200, 100, 50, 1, 2, 3]))
        add(f"png_{name}_row_palette.png", png(samples, 8, 3, extra=table, idat=zlib.compress(rows)))
        add(f"png_{name}_row_palette_interlaced.png", png(samples, 8, 3, True, table, zlib.compress(rows)))


def pngs():
    png_orders()
    width, height = 19, 13
    rng = np.random.default_rng(7)
    palette = chunk(b"PLTE", rng.integers(0, 256, 256 * 3, dtype=np.uint8).tobytes())
    some_alpha = chunk(b"tRNS", bytes(range(0, 250, 10)))
    one_clear = chunk(b"tRNS", b"\xff\xff\x00\xff")
    for interlace in (False, True):
        tail = "_interlaced" if interlace else ""
        for depth in (1, 2, 4, 8, 16):
            high = 1 << depth
            ramp = (grey(width, height).astype(int) * (high - 1) // 255)[..., None]
            add(f"png_grey_{depth}{tail}.png", png(ramp, depth, 0, interlace))
            clear = chunk(b"tRNS", struct.pack(">H", high // 2))
            add(f"png_grey_{depth}_trns{tail}.png", png(ramp, depth, 0, interlace, clear))
            if depth <= 8:
                colours = chunk(b"PLTE", rng.integers(0, 256, min(high, 256) * 3, dtype=np.uint8).tobytes())
                add(f"png_palette_{depth}{tail}.png", png(ramp, depth, 3, interlace, colours))
                alpha = chunk(b"tRNS", bytes([0, 128][: min(2, high)]))
                add(f"png_palette_{depth}_trns{tail}.png", png(ramp, depth, 3, interlace, colours + alpha))
        for depth in (8, 16):
            wide = rng.integers(0, 1 << depth, (height, width, 4))
            smooth = picture(width, height).astype(int) * (257 if depth == 16 else 1)
            clear = chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))
            add(f"png_rgb_{depth}{tail}.png", png(smooth, depth, 2, interlace))
            add(f"png_rgb_{depth}_trns{tail}.png", png(wide[..., :3], depth, 2, interlace, clear))
            add(f"png_rgba_{depth}{tail}.png", png(wide, depth, 6, interlace))
            add(f"png_grey_alpha_{depth}{tail}.png", png(wide[..., :2], depth, 4, interlace))
    ramp = grey(width, height)[..., None]
    add("png_palette_8_alphas.png", png(ramp, 8, 3, extra=palette + some_alpha))
    add("png_palette_8_one_clear.png", png(ramp, 8, 3, extra=palette + one_clear))
    short = chunk(b"PLTE", bytes(range(30)))
    add("png_palette_too_short.png", png(ramp, 8, 3, extra=short))
    add("png_no_palette.png", png(ramp, 8, 3))
    dark = (rng.integers(0, 600, (height, width, 1))).astype(int)
    add("png_grey_16_dark.png", png(dark, 16, 0))
    rgb = picture(width, height).astype(int)
    for size in [(1, 1), (1, 9), (9, 1), (3, 2)]:
        small = picture(*size).astype(int)
        add(f"png_rgb_{size[0]}x{size[1]}.png", png(small, 8, 2))
        add(f"png_rgb_{size[0]}x{size[1]}_interlaced.png", png(small, 8, 2, True))
    extra = chunk(b"gAMA", struct.pack(">I", 200000)) + chunk(b"cHRM", bytes(32))
    extra += chunk(b"pHYs", bytes(9)) + chunk(b"tEXt", b"Title\0a text") + chunk(b"bKGD", bytes(6))
    add("png_rgb_chunks.png", png(rgb, 8, 2, extra=extra))
    frames = [Image.fromarray(picture(20, 16, s)) for s in (1, 2, 3)]
    add("png_animated.png", saved(frames[0], format="PNG", save_all=True, append_images=frames[1:]))
    add("png_animated_default.png", saved(frames[0], format="PNG", save_all=True, append_images=frames[1:], default_image=True))
    add("png_trailing_garbage.png", png(rgb, 8, 2) + b"more" * 10)
    whole = png(rgb, 8, 2)
    add("png_no_end.png", whole[:-12])
    raw = filtered(packed(rgb, 8), 3)
    compressed = zlib.compress(raw, 9)
    split = b"".join(chunk(b"IDAT", compressed[i : i + 100]) for i in range(0, len(compressed), 100))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    add("png_many_idat.png", start + chunk(b"IDAT", b"") + split + chunk(b"IEND", b""))
    add("damaged_png_too_little_data.png", png(rgb, 8, 2, idat=zlib.compress(raw[: len(raw) // 2])))
    add("png_too_much_data.png", png(rgb, 8, 2, idat=zlib.compress(raw + bytes(500))))
    add("png_wrong_adler.png", png(rgb, 8, 2, idat=compressed[:-4] + b"\0\0\0\0"))
    add("damaged_png_no_data.png", start + chunk(b"IEND", b""))
    broken = bytearray(whole)
    broken[whole.index(b"IDAT") + 4 + 8 + len(compressed) - 8] ^= 1
    add("png_wrong_idat_crc.png", bytes(broken))
    broken = bytearray(whole)
    broken[30] ^= 1
    add("damaged_png_wrong_ihdr_crc.png", bytes(broken))
    add("damaged_png_bad_filter.png", png(rgb, 8, 2, idat=zlib.compress(b"\x09" + raw[1:])))
    for name, fields in {
        "zero_width": (0, 10, 8, 2),
        "zero_height": (10, 0, 8, 2),
        "bad_depth": (10, 10, 3, 2),
        "rgb_4_bit": (10, 10, 4, 2),
        "65535": (65535, 65535, 8, 2),
        "long": (1, 80_000_000, 8, 0),
        "huge": (2**31 - 1, 2**31 - 1, 8, 2),
    }.items():
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", *fields, 0, 0, 0))
        data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")
        add(f"damaged_png_{name}.png", data)


# --- GIF ------------------------------------------------------------------------


def gif_parts(data):
    """Header, colour table and the rest, of a GIF."""
    table = 3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    return data[:13], data[13 : 13 + table], data[13 + table :]


def gif_within(data, screen, left, top):
    """The same frame at a different position on a screen of a different size."""
    head, table, rest = gif_parts(data)
    at = 0
    while rest[at : at + 1] == b"!":
        at += 2
        while rest[at]:
            at += 1 + rest[at]
        at += 1
    assert rest[at : at + 1] == b","
    head = head[:6] + struct.pack("<HH", *screen) + head[10:]
    rest = rest[: at + 1] + struct.pack("<HH", left, top) + rest[at + 5 :]
    return head + table + rest


def gifs():
    colours = Image.fromarray(picture(31, 21)).quantize(60, method=Image.Quantize.MEDIANCUT)
    plain = saved(colours, format="GIF", interlace=0)
    add("gif_plain.gif", plain)
    add("gif_interlaced.gif", saved(colours, format="GIF", interlace=1))
    clear = saved(colours, format="GIF", transparency=7, interlace=0)
    add("gif_transparent.gif", clear)
    add("gif_transparent_out_of_table.gif", saved(colours, format="GIF", transparency=200))
    add("gif_grey.gif", saved(Image.fromarray(grey(31, 21)), format="GIF"))
    two = Image.fromarray(grey(31, 21)).convert("1")
    add("gif_two_colours.gif", saved(two, format="GIF"))
    add("gif_1x1.gif", saved(colours.resize((1, 1)), format="GIF"))
    for name, data in {"plain": plain, "transparent": clear}.items():
        add(f"gif_within_{name}.gif", gif_within(data, (50, 40), 9, 5))
        add(f"gif_sticks_out_{name}.gif", gif_within(data, (20, 15), 3, 2))
        add(f"gif_far_out_{name}.gif", gif_within(data, (20, 15), 100, 60))
    add("gif_within_interlaced.gif", gif_within(FILES["gif_interlaced.gif"], (50, 40), 9, 5))
    add("gif_screen_zero.gif", gif_within(plain, (0, 0), 0, 0))
    frames = [Image.fromarray(picture(24, 18, s)) for s in (1, 2, 3)]
    add("gif_animated.gif", saved(frames[0], format="GIF", save_all=True, append_images=frames[1:], duration=50, loop=0))
    sprites = []
    for n in range(3):
        sprite = Image.new("RGBA", (30, 30))
        sprite.paste(Image.fromarray(picture(10, 10, n)), (4 * n + 3, 5))
        sprites.append(sprite)
    add("gif_animated_transparent.gif", saved(sprites[0], format="GIF", save_all=True, append_images=sprites[1:], disposal=2))
    head, table, rest = gif_parts(plain)
    no_table = head[:10] + bytes([head[10] & 0x7F]) + head[11:]
    add("gif_no_colours.gif", no_table + rest)
    add("gif_table_too_short.gif", head[:10] + b"\x81" + head[11:] + table[:12] + rest)
    ramp = bytes(v for i in range(len(table) // 3) for v in (i, i, i))
    add("gif_grey_ramp.gif", head + ramp + rest)
    at = rest.index(b",")
    local = rest[: at + 9] + bytes([0x80 | (head[10] & 7)]) + table[::-1] + rest[at + 10 :]
    add("gif_local_colours.gif", head + table + local)
    add("gif_local_colours_only.gif", no_table + local)
    add("gif_comment.gif", head + table + b"!\xfe\x05hello\x00" + rest)
    add("gif_87a.gif", b"GIF87a" + plain[6:])
    add("gif_no_end.gif", plain[:-1])
    add("gif_trailing_garbage.gif", plain + b"more")
    add("gif_no_end_code.gif", plain[:-3] + b"\x00;")
    add("damaged_gif_no_frame.gif", head + table + b";")
    add("damaged_gif_code_size.gif", head + table + rest[: at + 10] + b"\x0d" + rest[at + 11 :])
    add("damaged_gif_65535.gif", gif_within(plain, (65535, 65535), 0, 0))
    add("damaged_gif_frame_zero.gif", head + table + rest[: at + 5] + bytes(4) + rest[at + 9 :])


# --- WebP -----------------------------------------------------------------------


def riff(*chunks):
    body = b"WEBP"
    for kind, data in chunks:
        body += kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webps():
    for width, height in [(61, 43), (16, 16), (17, 33), (1, 1), (2, 3), (33, 1)]:
        image = Image.fromarray(picture(width, height, width))
        for quality in (20, 90):
            add(f"webp_lossy_{quality}_{width}x{height}.webp", saved(image, format="WEBP", quality=quality))
        add(f"webp_lossless_{width}x{height}.webp", saved(image, format="WEBP", lossless=True))
    big = Image.fromarray(picture(44, 34, 4))
    alpha = big.convert("RGBA")
    alpha.putalpha(Image.fromarray(grey(44, 34, 8)))
    add("webp_lossy_alpha.webp", saved(alpha, format="WEBP", quality=70))
    add("webp_lossy_alpha_exact.webp", saved(alpha, format="WEBP", quality=70, exact=True))
    add("webp_lossless_alpha.webp", saved(alpha, format="WEBP", lossless=True, exact=True))
    add("webp_lossless_palette.webp", saved(big.quantize(9).convert("RGB"), format="WEBP", lossless=True))
    add("webp_method_0.webp", saved(big, format="WEBP", quality=50, method=0))
    add("webp_method_6.webp", saved(big, format="WEBP", quality=50, method=6))
    flat = Image.new("RGB", (40, 40), (200, 100, 50))
    add("webp_flat.webp", saved(flat, format="WEBP", quality=60))
    frames = [Image.fromarray(picture(30, 22, s)) for s in (1, 2, 3)]
    for name, options in {"lossy": {"quality": 60}, "lossless": {"lossless": True}}.items():
        add(f"webp_animated_{name}.webp", saved(frames[0], format="WEBP", save_all=True, append_images=frames[1:], **options))
    add("webp_exif.webp", saved(big, format="WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"))
    part = saved(Image.fromarray(picture(20, 16)), format="WEBP", quality=80)[12:]
    clear = saved(alpha.crop((0, 0, 20, 16)), format="WEBP", lossless=True, exact=True)[12:]
    for name, data in {"lossy": part, "alpha": clear}.items():
        frame = struct.pack("<I", 5)[:3] + struct.pack("<I", 3)[:3] + struct.pack("<I", 19)[:3]
        frame += struct.pack("<I", 15)[:3] + struct.pack("<I", 100)[:3] + b"\0" + data
        extended = b"\x12\0\0\0" + struct.pack("<I", 49)[:3] + struct.pack("<I", 39)[:3]
        anim = (b"ANIM", b"\x40\x80\xc0\xff\0\0")
        add(f"webp_animated_within_{name}.webp", riff((b"VP8X", extended), anim, (b"ANMF", frame)))
    plain = FILES["webp_lossy_90_61x43.webp"]
    add("webp_trailing_garbage.webp", plain + b"more")
    add("damaged_webp_no_chunk.webp", plain[:12] + b"ABCD" + plain[16:])
    add("damaged_webp_wrong_riff_size.webp", plain[:4] + struct.pack("<I", 20) + plain[8:])
    webp_containers(part[8 : 8 + struct.unpack("<I", part[4:8])[0]])


def webp_containers(frame):
    """Chunks in every order and number, around a lossy frame of 20 x 16 pixels."""

    def first(flags=0, length=10):
        return b"VP8X", struct.pack("<I", flags) + b"\x13\0\0\x0f\0\0" + bytes(length - 10)

    def moving(chunks, width=20):
        head = bytes(6) + struct.pack("<I", width - 1)[:3] + b"\x0f\0\0\x64\0\0\0"
        return b"ANMF", head + riff(*chunks)[12:]

    image, anim, other = (b"VP8 ", frame), (b"ANIM", bytes(6)), (b"ABCD", b"xx")
    alpha, no_alpha = (b"ALPH", bytes(1 + 20 * 16)), (b"ALPH", b"\0")
    for flag in range(8):
        add(f"webp_flag_{flag}.webp", riff(first(1 << flag), image))
    for length in (11, 12, 14):
        add(f"webp_header_of_{length}.webp", riff(first(0, length), image))
    for name, chunks in {
        "reserved": [first(0x500), image],
        "two_headers": [first(), first(), image],
        "two_images": [first(), image, image],
        "simple_two_images": [image, image],
        "simple_other": [image, other],
        "simple_alpha_behind": [image, alpha],
        "alpha_apart": [first(16), alpha, (b"XMP ", b"x"), image],
        "alpha_behind": [first(16), image, alpha],
        "alpha_behind_unannounced": [first(), image, alpha],
        "broken_alpha": [first(16), no_alpha, image],
        "broken_alpha_unannounced": [first(), no_alpha, image],
        "anim_before": [first(), anim, image],
        "anim_behind": [first(), image, anim],
        "frames_of_none": [first(), image, anim, moving([image])],
        "frames_unannounced": [first(), image, moving([image])],
        "moving": [first(2), anim, moving([image])],
        "moving_without_anim": [first(2), moving([image])],
        "moving_short_anim": [first(2), (b"ANIM", bytes(4)), moving([image])],
        "moving_anim_twice": [first(2), anim, anim, moving([image])],
        "moving_other_width": [first(2), anim, moving([image], 9)],
        "moving_empty_first": [first(2), anim, moving([]), moving([image])],
        "moving_other_first": [first(2), anim, moving([other, image])],
        "moving_other_behind": [first(2), anim, moving([image, other])],
        "moving_broken_alpha": [first(2), anim, moving([no_alpha, image])],
        "moving_second_broken": [first(2), anim, moving([image]), moving([(b"VP8 ", b"x" * 30)])],
        "moving_second_short": [first(2), anim, moving([image]), (b"ANMF", b"x" * 10)],
        "moving_image_outside": [first(2), anim, moving([image]), image],
    }.items():
        add(f"webp_chunks_{name}.webp", riff(*chunks))
    for name, end in {"three_bytes": b"abc", "no_chunk": b"junkjunkjunk"}.items():
        for kind, chunks in {"simple": [image], "extended": [first(), image]}.items():
            data = riff(*chunks) + end
            add(f"webp_chunks_{kind}_{name}.webp", data[:4] + struct.pack("<I", len(data) - 8) + data[8:])


# --- BMP ------------------------------------------------------------------------


def bmp(width, height, bits, rows, compression=0, palette=b"", colours=0, masks=b"", top_down=False, header=40, offset=None):
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, width, -height if top_down else height, 1, bits, compression, len(rows), 0, 0, colours, 0)
        info += masks[: header - 40].ljust(header - 40, b"\0")
        palette = (masks if header == 40 else b"") + palette
    at = 14 + len(info) + len(palette) if offset is None else offset
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(palette) + len(rows), 0, 0, at) + info + palette + rows


def bmp_rows(samples, bits, top_down=False):
    rows = packed(samples if bits < 16 else samples, min(bits, 8))
    rows = [row + bytes(-len(row) % 4) for row in rows]
    return b"".join(rows if top_down else rows[::-1])


def bmps():
    width, height = 21, 15
    rng = np.random.default_rng(11)
    pixels = picture(width, height)
    bgr = pixels[..., ::-1]
    add("bmp_24.bmp", bmp(width, height, 24, bmp_rows(bgr, 24)))
    add("bmp_24_top_down.bmp", bmp(width, height, 24, bmp_rows(bgr, 24, True), top_down=True))
    add("bmp_24_os2.bmp", bmp(width, height, 24, bmp_rows(bgr, 24), header=12))
    for header in (52, 56, 64, 108, 124):
        add(f"bmp_24_header_{header}.bmp", bmp(width, height, 24, bmp_rows(bgr, 24), header=header))
    bgrx = np.dstack([bgr, rng.integers(0, 256, (height, width, 1), dtype=np.uint8)])
    add("bmp_32.bmp", bmp(width, height, 32, bmp_rows(bgrx, 32)))
    for bits in (1, 4, 8):
        count = 1 << bits
        samples = (grey(width, height).astype(int) * (count - 1) // 255)[..., None]
        rows = bmp_rows(samples, bits)
        table = rng.integers(0, 256, (count, 4), dtype=np.uint8).tobytes()
        add(f"bmp_{bits}.bmp", bmp(width, height, bits, rows, palette=table))
        add(f"bmp_{bits}_no_offset.bmp", bmp(width, height, bits, rows, palette=table, offset=0))
        add(f"bmp_{bits}_offset_of_headers.bmp", bmp(width, height, bits, rows, palette=table, offset=54))
        table3 = rng.integers(0, 256, (count, 3), dtype=np.uint8).tobytes()
        add(f"bmp_{bits}_os2.bmp", bmp(width, height, bits, rows, palette=table3, header=12))
        ramp = bytes(v for i in range(count) for v in (i * 255 // (count - 1),) * 3 + (0,))
        add(f"bmp_{bits}_grey.bmp", bmp(width, height, bits, rows, palette=ramp))
        few = table[: 4 * max(2, count // 2)]
        add(f"bmp_{bits}_few_colours.bmp", bmp(width, height, bits, rows, palette=few, colours=len(few) // 4))
    black_white = b"\0\0\0\0\xff\xff\xff\0"
    one = (grey(width, height) > 128).astype(int)[..., None]
    add("bmp_1_white_first.bmp", bmp(width, height, 1, bmp_rows(one, 1), palette=black_white[4:] + black_white[:4]))
    add("bmp_8_two_colours.bmp", bmp(width, height, 8, bmp_rows(one, 8), palette=black_white, colours=2))
    add("bmp_4_small_ramp.bmp", bmp(width, height, 4, bmp_rows(one, 4), palette=bytes(v for i in range(16) for v in (i, i, i, 0))))
    five = (pixels >> 3).astype(int)
    word = (five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]).astype("<u2")
    rows555 = b"".join(row.tobytes() + bytes(-2 * width % 4) for row in word[::-1])
    add("bmp_16.bmp", bmp(width, height, 16, rows555))
    add("bmp_16_555.bmp", bmp(width, height, 16, rows555, 3, masks=struct.pack("<III", 0x7C00, 0x3E0, 0x1F)))
    word = (five[..., 0] << 11 | (pixels[..., 1] >> 2).astype(int) << 5 | five[..., 2]).astype("<u2")
    rows565 = b"".join(row.tobytes() + bytes(-2 * width % 4) for row in word[::-1])
    add("bmp_16_565.bmp", bmp(width, height, 16, rows565, 3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)))
    add("bmp_16_565_header_56.bmp", bmp(width, height, 16, rows565, 3, masks=struct.pack("<IIII", 0xF800, 0x7E0, 0x1F, 0), header=56))
    add("damaged_bmp_16_444.bmp", bmp(width, height, 16, rows565, 3, masks=struct.pack("<III", 0xF00, 0xF0, 0xF)))
    four = bmp_rows(bgrx, 32)
    masks = {
        "bgrx": (0xFF0000, 0xFF00, 0xFF, 0),
        "xbgr": (0xFF000000, 0xFF0000, 0xFF00, 0),
        "bgxr": (0xFF000000, 0xFF00, 0xFF, 0),
        "abgr": (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
        "rgba": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        "bgra": (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        "bgar": (0xFF000000, 0xFF00, 0xFF, 0xFF0000),
        "none": (0, 0, 0, 0),
        "rgbx": (0xFF, 0xFF00, 0xFF0000, 0),
    }
    for name, values in masks.items():
        for header in (40, 52, 56, 124):
            if header == 40 or name in ("bgra", "bgrx", "rgba"):
                data = bmp(width, height, 32, four, 3, masks=struct.pack("<IIII", *values)[: 12 if header < 56 else 16], header=header)
                add(f"bmp_32_{name}_{header}.bmp", data)
    add("bmp_24_masks.bmp", bmp(width, height, 24, bmp_rows(bgr, 24), 3, masks=struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)))
    table = rng.integers(0, 256, (256, 4), dtype=np.uint8).tobytes()
    rle8 = {
        "runs": b"\x15\x01\0\0" * 14 + b"\x15\x02\0\1",
        "literals": (b"\0\x15" + bytes(range(21)) + b"\0\0\0") * 15 + b"\0\1",
        "short_rows": b"\x05\x01\0\0" * 15 + b"\0\1",
        "skip": b"\x05\x01\0\2\x03\x02" + b"\x04\x09\0\0" * 12 + b"\x15\x07" * 2 + b"\0\1",
        "long_run": b"\xff\x05\0\0" * 15 + b"\0\1",
        "ends_early": b"\x15\x01\0\0" * 5 + b"\0\1",
        "no_end": b"\x15\x01\0\0" * 15,
        "skip_far": b"\0\2\xff\xff" + b"\x01\x01",
    }
    for name, rows in rle8.items():
        add(f"bmp_rle8_{name}.bmp", bmp(width, height, 8, rows, 1, palette=table))
    rle4 = {
        "runs": b"\x15\x12\0\0" * 14 + b"\x15\x34\0\1",
        "literals": (b"\0\x15" + bytes(range(11)) + b"\0\0\0") * 15 + b"\0\1",
        "skip": b"\x05\x31\0\2\x03\x02" + b"\x04\x95\0\0" * 12 + b"\x15\x71" * 2 + b"\0\1",
        "literal_of_3": (b"\0\x03\x12\x30" + b"\x12\x45\0\0") * 15 + b"\0\1",
    }
    for name, rows in rle4.items():
        add(f"bmp_rle4_{name}.bmp", bmp(width, height, 4, rows, 2, palette=table[:64]))
    add("bmp_rle8_grey.bmp", bmp(width, height, 8, rle8["literals"], 1, palette=bytes(v for i in range(256) for v in (i, i, i, 0))))
    ramp = bytes(v for i in range(300) for v in (i % 256,) * 3 + (0,))
    eight = bmp_rows(grey(width, height)[..., None], 8)
    add("bmp_8_ramp_of_300.bmp", bmp(width, height, 8, eight, palette=ramp, colours=300))
    add("damaged_bmp_8_300_colours.bmp", bmp(width, height, 8, eight, palette=ramp[4:] + bytes(4), colours=300))
    add("bmp_rle8_1_bit.bmp", bmp(width, height, 1, rle8["literals"], 1, palette=table[:8]))
    add("bmp_rle4_1_bit.bmp", bmp(width, height, 1, rle4["runs"], 2, palette=table[:8]))
    add("bmp_rle4_8_bits.bmp", bmp(width, height, 8, rle4["runs"], 2, palette=table))
    add("bmp_rle8_black_white.bmp", bmp(width, height, 8, rle8["literals"], 1, palette=black_white, colours=2))
    add("bmp_last_padding_missing.bmp", bmp(width, height, 24, bmp_rows(bgr, 24))[:-1])
    add("bmp_trailing_garbage.bmp", FILES["bmp_24.bmp"] + b"more" * 9)
    add("damaged_bmp_2.bmp", bmp(width, height, 2, bytes(8 * height), palette=table[:16]))
    add("damaged_bmp_header_41.bmp", FILES["bmp_24.bmp"][:14] + b"\x29" + FILES["bmp_24.bmp"][15:])
    add("damaged_bmp_jpeg.bmp", bmp(width, height, 24, bytes(900), 4))
    add("damaged_bmp_65535.bmp", bmp(65535, 65535, 24, bytes(99)))
    add("damaged_bmp_zero.bmp", bmp(0, 10, 24, b""))
    add("damaged_bmp_only_magic.bmp", b"BM")


# --- TIFF -----------------------------------------------------------------------


def tiff(tags, strips, order="<", big=False, counts=True):
    """A one-page TIFF: `tags` {tag: (type, values)}, of fractions (type 5) the numbers above and
    below, `strips` the coded strips."""
    entries = dict(tags)
    tiles = 322 in entries
    if strips:
        entries[324 if tiles else 273] = (4, [0] * len(strips))
    if strips and counts:
        entries[325 if tiles else 279] = (4, [len(strip) for strip in strips])
    sizes = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 14: "H"}
    head = 16 if big else 8
    room = 8 if big else 4
    count = len(entries)
    at = head + (8 + 20 * count + 8 if big else 2 + 12 * count + 4)

    def packed_values(kind, values):
        if kind in (2, 7):
            return bytes(values)
        return struct.pack(order + sizes[kind] * len(values), *values)

    extra = {tag: packed_values(*value) for tag, value in entries.items()}
    places = {}
    for tag, data in extra.items():
        if len(data) > room:
            places[tag] = at
            at += len(data) + len(data) % 2
    offsets = []
    for strip in strips:
        offsets.append(at)
        at += len(strip)
    if strips:
        entries[324 if tiles else 273] = (4, offsets)
        extra[324 if tiles else 273] = packed_values(4, offsets)
    out = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    out += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    out += struct.pack(order + ("Q" if big else "H"), count)
    for tag in sorted(entries):
        kind, values = entries[tag]
        out += struct.pack(order + "HH" + ("Q" if big else "I"), tag, kind, len(values) // (2 if kind == 5 else 1))
        if tag in places:
            out += struct.pack(order + ("Q" if big else "I"), places[tag])
        else:
            out += extra[tag].ljust(room, b"\0")
    out += bytes(8 if big else 4)
    for tag in entries:
        if tag in places:
            assert len(out) == places[tag], (tag, len(out), places[tag])
            out += extra[tag] + bytes(len(extra[tag]) % 2)
    return out + b"".join(strips)


def tags(width, height, bits, photometric, compression=1, rows=None, **more):
    out = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, bits),
        259: (3, [compression]),
        262: (3, [photometric]),
        277: (3, [len(bits)]),
        278: (4, [rows or height]),
    }
    for key, value in more.items():
        out[int(key[1:])] = value
    return out


def in_strips(rows, per_strip):
    return [b"".join(rows[i : i + per_strip]) for i in range(0, len(rows), per_strip)]


def deflate(strips):
    return [zlib.compress(strip) for strip in strips]


def packbits(strip):
    out, at = b"", 0
    while at < len(strip):
        run = 1
        while at + run < len(strip) and run < 128 and strip[at + run] == strip[at]:
            run += 1
        if run > 1:
            out += bytes([257 - run, strip[at]])
            at += run
        else:
            end = at + 1
            while end < len(strip) and end - at < 128 and strip[end] != strip[end - 1]:
                end += 1
            out += bytes([end - at - 1]) + strip[at:end]
            at = end
    return out


def tiff_entries():
    """Entries of other types than usual, and of other numbers of values."""
    pixels = picture(21, 18)
    rows = [row.tobytes() for row in pixels]
    plain = tags(21, 18, [8] * 3, 2, 1, rows=6, t284=(3, [1]), t339=(3, [1] * 3), t266=(3, [1]))
    for name, pack, kind in (("raw", lambda strip: strip, 1), ("deflate", zlib.compress, 8)):
        strips = [pack(strip) for strip in in_strips(rows, 6)]
        made = plain | {259: (3, [kind])}
        changes = {f"type_{type}_of_{tag}": {tag: (type, made[tag][1])} for tag in (256, 257, 258, 259, 262, 266, 277, 278, 284, 339) for type in (1, 2, 6, 7, 8, 9, 14)}
        changes |= {f"two_of_{tag}": {tag: (3, made[tag][1] * 2)} for tag in (256, 257, 259, 262, 277, 278, 284)}
        changes |= {f"planes_{value}": {284: (3, [value])} for value in (0, 5)}
        changes |= {f"predictor_{value}": {317: (3, [value])} for value in (0, 15)}
        changes |= {"two_compressions": {259: (3, [kind, 5])}}
        for name_of, change in changes.items():
            add(f"tiff_{name}_{name_of}.tif", tiff(made | change, strips))
        add(f"tiff_{name}_no_counts.tif", tiff(made, strips, counts=False))
        whole = made | {278: (4, [18])}
        add(f"tiff_{name}_no_count.tif", tiff(whole, [pack(b"".join(rows))], counts=False))


def tiffs():
    tiff_entries()
    width, height = 21, 18
    rng = np.random.default_rng(13)
    pixels = picture(width, height)
    image = Image.fromarray(pixels)
    modes = {
        "rgb": image,
        "grey": image.convert("L"),
        "bilevel": image.convert("1"),
        "palette": image.quantize(50),
        "cmyk": image.convert("CMYK"),
        "rgba": Image.fromarray(np.dstack([pixels, grey(width, height, 4)])),
        "la": Image.fromarray(np.dstack([grey(width, height), grey(width, height, 4)])),
        "ycbcr": image.convert("YCbCr"),
        "lab": Image.fromarray(pixels, "LAB"),
        "int16": Image.fromarray(grey(width, height).astype(np.uint16) * 3),
        "int32": Image.fromarray(grey(width, height).astype(np.int32) * 3 - 100),
        "float": Image.fromarray(grey(width, height).astype(np.float32) * 1.5 - 20),
    }
    for mode, source in modes.items():
        for compression in [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"]:
            if compression == "jpeg" and mode not in ("rgb", "grey", "cmyk", "ycbcr"):
                continue
            if mode in ("int32", "float", "lab") and compression not in (None, "tiff_lzw"):
                continue
            name = f"tiff_{mode}_{(compression or 'raw').removeprefix('tiff_')}.tif"
            add(name, saved(source, format="TIFF", compression=compression))
    for compression in ("group3", "group4", "tiff_ccitt"):
        add(f"tiff_bilevel_{compression}.tif", saved(modes["bilevel"], format="TIFF", compression=compression))
    faxes()
    add("tiff_rgb_zstd.tif", saved(image, format="TIFF", compression="zstd"))
    add("tiff_rgb_old_deflate.tif", saved(image, format="TIFF", compression="tiff_deflate"))
    add("tiff_rgb_lzma.tif", saved(image, format="TIFF", compression="lzma"))
    add("tiff_big.tif", saved(image, format="TIFF", big_tiff=True))
    pages = [Image.fromarray(picture(20, 12, s)) for s in (1, 2)]
    add("tiff_two_pages.tif", saved(pages[0], format="TIFF", save_all=True, append_images=pages[1:]))
    for orientation in range(1, 10):
        data = saved(image, format="TIFF", tiffinfo={274: orientation})
        add(f"tiff_orientation_{orientation}.tif", data)
    for kind in ("tiff_lzw", "tiff_adobe_deflate"):
        for mode in ("rgb", "grey", "rgba", "int16"):
            data = saved(modes[mode], format="TIFF", compression=kind, tiffinfo={317: 2})
            add(f"tiff_{mode}_{kind.removeprefix('tiff_')}_predictor.tif", data)

    eight = {
        "rgb": (pixels, 2),
        "grey": (grey(width, height)[..., None], 1),
        "white_is_zero": (grey(width, height)[..., None], 0),
        "cmyk": (np.dstack([pixels, grey(width, height, 2)]), 5),
    }
    for name, (samples, photometric) in eight.items():
        bits = [8] * samples.shape[2]
        rows = packed(samples, 8)
        for order, label in (("<", "le"), (">", "be")):
            for big in (False, True):
                if big and name != "rgb":
                    continue
                data = tiff(tags(width, height, bits, photometric, rows=5), in_strips(rows, 5), order, big)
                add(f"tiff_{name}_strips_{label}{'_big' if big else ''}.tif", data)
        add(f"tiff_{name}_packbits_rows.tif", tiff(tags(width, height, bits, photometric, 32773, rows=4), [packbits(s) for s in in_strips(rows, 4)]))
        planes = [samples[..., c : c + 1] for c in range(len(bits))]
        if len(bits) > 1:
            strips = [s for plane in planes for s in in_strips(packed(plane, 8), 7)]
            more = {"t284": (3, [2])}
            add(f"tiff_{name}_planar.tif", tiff(tags(width, height, bits, photometric, rows=7, **more), strips))
            add(f"tiff_{name}_planar_deflate.tif", tiff(tags(width, height, bits, photometric, 8, rows=7, **more), deflate(strips)))
        tiles = []
        padded = np.pad(samples, ((0, -height % 16), (0, -width % 16), (0, 0)))
        for y in range(0, height, 16):
            for x in range(0, width, 16):
                tiles.append(padded[y : y + 16, x : x + 16].tobytes())
        tiled = tags(width, height, bits, photometric, t322=(4, [16]), t323=(4, [16]))
        del tiled[278]
        add(f"tiff_{name}_tiles.tif", tiff(tiled, tiles))
        tiled[259] = (3, [8])
        add(f"tiff_{name}_tiles_deflate.tif", tiff(tiled, deflate(tiles)))
    for bits in (1, 2, 4):
        samples = (grey(width, height).astype(int) * ((1 << bits) - 1) // 255)[..., None]
        rows = packed(samples, bits)
        for photometric, label in ((0, "white_is_zero"), (1, "grey")):
            add(f"tiff_{label}_{bits}.tif", tiff(tags(width, height, [bits], photometric, rows=6), in_strips(rows, 6)))
            add(f"tiff_{label}_{bits}_deflate.tif", tiff(tags(width, height, [bits], photometric, 8, rows=6), deflate(in_strips(rows, 6))))
        table = rng.integers(0, 65536, 3 << bits).tolist()
        add(f"tiff_palette_{bits}.tif", tiff(tags(width, height, [bits], 3, rows=6, t320=(3, table)), in_strips(rows, 6)))
        swapped = [bytes(int(f"{b:08b}"[::-1], 2) for b in s) for s in in_strips(rows, 6)]
        add(f"tiff_grey_{bits}_reversed.tif", tiff(tags(width, height, [bits], 1, rows=6, t266=(3, [2])), swapped))
    table = rng.integers(0, 65536, 768).tolist()
    add("tiff_palette_8.tif", tiff(tags(width, height, [8], 3, t320=(3, table)), [grey(width, height).tobytes()]))
    for order, label in (("<", "le"), (">", "be")):
        code = "<u2" if order == "<" else ">u2"
        for name, channels, photometric, extra in (
            ("grey", 1, 1, None),
            ("rgb", 3, 2, None),
            ("rgba", 4, 2, 2),
            ("rgbx", 4, 2, 0),
            ("rgba_premultiplied", 4, 2, 1),
            ("cmyk", 4, 5, None),
        ):
            samples = rng.integers(0, 65536, (height, width, channels))
            more = {} if extra is None else {"t338": (3, [extra])}
            made = tags(width, height, [16] * channels, photometric, rows=5, **more)
            strips = in_strips([row.astype(code).tobytes() for row in samples], 5)
            add(f"tiff_{name}_16_{label}.tif", tiff(made, strips, order))
            made[259] = (3, [8])
            add(f"tiff_{name}_16_{label}_deflate.tif", tiff(made, deflate(strips), order))
    for extra in (0, 1, 2):
        samples = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
        made = tags(width, height, [8] * 4, 2, t338=(3, [extra]))
        add(f"tiff_rgb_extra_{extra}.tif", tiff(made, [samples.tobytes()]))
        made[259] = (3, [8])
        add(f"tiff_rgb_extra_{extra}_deflate.tif", tiff(made, deflate([samples.tobytes()])))
        made = tags(width, height, [8] * 2, 1, t338=(3, [extra]))
        add(f"tiff_grey_extra_{extra}.tif", tiff(made, [samples[..., :2].tobytes()]))
    add("tiff_rgb_extra_missing.tif", tiff(tags(width, height, [8] * 4, 2), [samples.tobytes()]))
    add("tiff_no_counts.tif", tiff(tags(width, height, [8] * 3, 2), [pixels.tobytes()], counts=False))
    add("tiff_trailing_garbage.tif", FILES["tiff_rgb_raw.tif"] + b"more")
    whole = tags(width, height, [8] * 3, 2)
    add("damaged_tiff_short_strip.tif", tiff(whole, [pixels.tobytes()[:-100]]))
    add("damaged_tiff_65535.tif", tiff(tags(65535, 65535, [8] * 3, 2), [pixels.tobytes()]))
    add("damaged_tiff_zero.tif", tiff(tags(0, 5, [8] * 3, 2), [b""]))
    bomb = zlib.compress(bytes(200_000), 9)
    add("damaged_tiff_deflate_short.tif", tiff(tags(width, height, [8] * 3, 2, 8), deflate([pixels.tobytes()[:-100]])))
    add("tiff_deflate_too_much.tif", tiff(tags(width, height, [8] * 3, 2, 8), [bomb]))
    add("damaged_tiff_no_directory.tif", b"II*\0\x08\0\0\0")
    add("damaged_tiff_unknown_compression.tif", tiff(tags(width, height, [8] * 3, 2, 9999), [pixels.tobytes()]))
    loop = bytearray(tiff(whole, [pixels.tobytes()]))
    add("damaged_tiff_offset_outside.tif", bytes(loop[:4]) + b"\xff\xff\xff\x7f" + bytes(loop[8:]))


def ycc_units(samples, across, down):
    """Rows of units of subsampled YCbCr: so many lumas, and the differences of the first pixel."""
    height, width = samples.shape[:2]
    padded = np.pad(samples, ((0, -height % down), (0, -width % across), (0, 0)), mode="edge")
    rows = []
    for y in range(0, padded.shape[0], down):
        row = b""
        for x in range(0, padded.shape[1], across):
            block = padded[y : y + down, x : x + across]
            row += block[..., 0].tobytes() + block[0, 0, 1:].tobytes()
        rows.append(row)
    return rows


def rare_tiffs():
    width, height = 21, 18
    pixels = picture(width, height, 3)
    image = Image.fromarray(pixels)
    # Levels and weights of ITU-R BT.709 in the range of video, as fractions.
    video = {"t532": (5, [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1])}
    weights = {"t529": (5, [2126, 10000, 7152, 10000, 722, 10000])}
    for kind in ("zstd", "lzma"):
        for mode, source in (("grey", image.convert("L")), ("rgba", image.convert("RGBA")), ("bilevel", image.convert("1"))):
            add(f"tiff_{mode}_{kind}.tif", saved(source, format="TIFF", compression=kind))
        sixteen = Image.fromarray(grey(width, height).astype(np.uint16) * 3)
        for mode, source in (("rgb", image), ("int16", sixteen)):
            data = saved(source, format="TIFF", compression=kind, tiffinfo={317: 2})
            add(f"tiff_{mode}_{kind}_predictor.tif", data)
        add(f"tiff_rgb_{kind}_strips.tif", saved(image, format="TIFF", compression=kind, tiffinfo={278: 5}))
    # Wide enough that a strip is read row by row.
    wide = Image.fromarray(picture(611, 97, 5, 2))
    add("tiff_wide_zstd.tif", saved(wide, format="TIFF", compression="zstd", tiffinfo={278: 97}))
    add("tiff_wide_lzma.tif", saved(wide, format="TIFF", compression="lzma", tiffinfo={278: 97}))
    tiles = []
    padded = np.pad(pixels, ((0, -height % 16), (0, -width % 16), (0, 0)))
    for y in range(0, height, 16):
        for x in range(0, width, 16):
            tiles.append(lzma.compress(padded[y : y + 16, x : x + 16].tobytes()))
    tiled = tags(width, height, [8] * 3, 2, 34925, t322=(4, [16]), t323=(4, [16]))
    del tiled[278]
    add("tiff_rgb_tiles_lzma.tif", tiff(tiled, tiles))
    add("damaged_tiff_lzma_short.tif", tiff(tags(width, height, [8] * 3, 2, 34925), [lzma.compress(pixels.tobytes()[:-100])]))
    add("damaged_tiff_lzma_no_xz.tif", tiff(tags(width, height, [8] * 3, 2, 34925), [pixels.tobytes()]))
    add("damaged_tiff_zstd_no_frame.tif", tiff(tags(width, height, [8] * 3, 2, 50000), [pixels.tobytes()]))

    # 12 bits, an odd number of pixels in a row.
    values = np.random.default_rng(12).integers(0, 4096, (height, width)) >> (np.arange(width) % 8)
    rows = []
    for row in values:
        bits = "".join(f"{value:012b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        rows.append(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    for order, label in (("<", "le"), (">", "be")):
        add(f"tiff_grey_12_{label}.tif", tiff(tags(width, height, [12], 1, rows=5), in_strips(rows, 5), order))
        add(f"tiff_grey_12_{label}_deflate.tif", tiff(tags(width, height, [12], 1, 8, rows=5), deflate(in_strips(rows, 5)), order))
    add("tiff_white_is_zero_12.tif", tiff(tags(width, height, [12], 0, rows=5), in_strips(rows, 5)))

    # YCbCr without JPEG: every subsampling, packed, raw, tiled, in planes.
    samples = np.asarray(Image.fromarray(picture(width, height, 3, 60)).convert("YCbCr"))
    for across in (1, 2, 4):
        for down in (1, 2, 4):
            units = ycc_units(samples, across, down)
            made = tags(width, height, [8] * 3, 6, 8, rows=8, t530=(3, [across, down]))
            strips = deflate(in_strips(units, 8 // down))
            add(f"tiff_ycc_{across}{down}_deflate.tif", tiff(made, strips))
            made[259] = (3, [1])
            add(f"tiff_ycc_{across}{down}_raw.tif", tiff(made, in_strips(units, 8 // down)))
    for name, more in (("video", video), ("weights", weights), ("both", video | weights)):
        made = tags(width, height, [8] * 3, 6, 8, t530=(3, [2, 2]), **more)
        add(f"tiff_ycc_22_{name}.tif", tiff(made, deflate([b"".join(ycc_units(samples, 2, 2))])))
        made = tags(width, height, [8] * 3, 6, 8, t530=(3, [1, 1]), **more)
        add(f"tiff_ycc_11_{name}.tif", tiff(made, deflate([samples.tobytes()])))
        made[259] = (3, [1])
        add(f"tiff_ycc_11_{name}_raw.tif", tiff(made, [samples.tobytes()]))
    for size in ((1, 5), (5, 1)):
        small = np.ones((size[1], size[0], 3), np.uint8)
        made = tags(*size, [8] * 3, 6, 8, t530=(3, [2, 2]))
        add(f"damaged_tiff_ycc_{size[0]}x{size[1]}.tif", tiff(made, deflate([b"".join(ycc_units(small, 2, 2))])))
    units = b"".join(ycc_units(samples, 2, 2))
    add("tiff_ycc_untold_deflate.tif", tiff(tags(width, height, [8] * 3, 6, 8), deflate([units])))
    add("tiff_ycc_22_packbits.tif", tiff(tags(width, height, [8] * 3, 6, 32773, t530=(3, [2, 2])), [packbits(units)]))
    add("tiff_ycc_22_lzma.tif", tiff(tags(width, height, [8] * 3, 6, 34925, t530=(3, [2, 2])), [lzma.compress(units)]))
    padded = np.pad(samples, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    tiles = []
    for y in range(0, height, 16):
        for x in range(0, width, 16):
            tiles.append(b"".join(ycc_units(padded[y : y + 16, x : x + 16], 2, 2)))
    tiled = tags(width, height, [8] * 3, 6, 8, t322=(4, [16]), t323=(4, [16]), t530=(3, [2, 2]))
    del tiled[278]
    add("tiff_ycc_22_tiles_deflate.tif", tiff(tiled, deflate(tiles)))
    planes = [s for c in range(3) for s in in_strips(packed(samples[..., c : c + 1], 8), 7)]
    for subsampling in ([1, 1], [2, 2]):
        made = tags(width, height, [8] * 3, 6, 8, rows=7, t284=(3, [2]), t530=(3, subsampling))
        name = "".join(map(str, subsampling))
        add(f"tiff_ycc_{name}_planar_deflate.tif", tiff(made, deflate(planes)))
        made[259] = (3, [1])
        add(f"tiff_ycc_{name}_planar_raw.tif", tiff(made, planes))


def pcx(width, height, planes, bits, rows, version=5, stride=None, behind=b""):
    """`rows`: the bytes of all planes of a row."""
    stride = stride or len(rows[0]) // planes
    head = struct.pack("<BBBB6H", 10, version, 1, bits, 0, 0, width - 1, height - 1, 72, 72)
    colours = np.random.default_rng(4).integers(0, 256, 48, dtype=np.uint8).tobytes()
    head += colours + struct.pack("<BBHH", 0, planes, stride, 1)
    body = b""
    for row in rows:
        at = 0
        while at < len(row):
            run = 1
            while at + run < len(row) and run < 63 and row[at + run] == row[at]:
                run += 1
            body += bytes([0xC0 | run, row[at]]) if run > 1 or row[at] >= 0xC0 else row[at : at + 1]
            at += run
    return head.ljust(128, b"\0") + body + behind


def pcxs():
    image = Image.fromarray(picture(31, 20))
    for mode in ("1", "L", "P", "RGB"):
        source = image.quantize(60) if mode == "P" else image.convert(mode)
        add(f"pcx_{mode}.pcx", saved(source, format="PCX"))
    few = Image.fromarray(np.repeat(np.arange(20, dtype=np.uint8), 31).reshape(20, 31))
    add("pcx_flat.pcx", saved(few, format="PCX"))
    draw = np.random.default_rng(8)
    for planes in (2, 4):
        rows = [draw.integers(0, 256, 4 * planes, dtype=np.uint8).tobytes() for _ in range(9)]
        add(f"pcx_{planes}_planes.pcx", pcx(31, 9, planes, 1, rows, version=3))
        rows = [draw.integers(0, 256, 5 * planes, dtype=np.uint8).tobytes() for _ in range(9)]
        add(f"pcx_{planes}_planes_unpadded.pcx", pcx(39, 9, planes, 1, rows, stride=5))
    rows = [draw.integers(0, 256, 21 * 3, dtype=np.uint8).tobytes() for _ in range(9)]
    add("pcx_rgb_unpadded.pcx", pcx(21, 9, 3, 8, rows, stride=21))
    add("pcx_grey_no_colours.pcx", pcx(22, 9, 1, 8, [row[:22] for row in rows], behind=bytes(800)))
    add("damaged_pcx_three_planes.pcx", pcx(21, 9, 3, 1, [row[:12] for row in rows]))
    add("damaged_pcx_version_3.pcx", pcx(21, 9, 3, 8, rows, version=3))
    over = bytearray(pcx(22, 9, 1, 8, [bytes(22)] * 9, behind=bytes(800)))
    over[128] += 1
    add("damaged_pcx_long_run.pcx", bytes(over))
    backwards = bytearray(over)
    backwards[4:12] = struct.pack("<4H", 30, 0, 21, 8)
    add("damaged_pcx_backwards.pcx", bytes(backwards))
    add("damaged_pcx_short.pcx", FILES["pcx_RGB.pcx"][:700])
    add("damaged_pcx_only_magic.pcx", b"\x0a\x05\x01\x08")


def sun(width, height, depth, kind, rows, colours=b"", colour_kind=None):
    body = b"".join(rows)
    colour_kind = (1 if colours else 0) if colour_kind is None else colour_kind
    head = struct.pack(">8I", 0x59A66A95, width, height, depth, len(body), kind, colour_kind, len(colours))
    return head + colours + body


def sun_runs(row):
    out, at = b"", 0
    while at < len(row):
        run = 1
        while at + run < len(row) and run < 256 and row[at + run] == row[at]:
            run += 1
        if run > 2 or row[at] == 0x80:
            out += bytes([0x80, run - 1]) + (row[at : at + 1] if run > 1 else b"")
        else:
            out += row[at : at + 1] * run
        at += run
    return out


def suns():
    width, height = 21, 10
    draw = np.random.default_rng(6)
    for depth in (1, 4, 8, 24, 32):
        used = (width * depth + 7) // 8
        rows = [(draw.integers(0, 256, used) & (0xFF if n % 3 else 0x81)).astype(np.uint8).tobytes() for n in range(height)]
        padded = [row + b"\x55" * (-used % 2) for row in rows]
        for kind in (0, 1, 3):
            add(f"sun_{depth}_{kind}.ras", sun(width, height, depth, kind, padded))
        add(f"sun_{depth}_runs.ras", sun(width, height, depth, 2, [sun_runs(b"".join(rows))]))
        colours = draw.integers(0, 256, 3 * min(200, 1 << depth), dtype=np.uint8).tobytes()
        add(f"sun_{depth}_colours.ras", sun(width, height, depth, 1, padded, colours))
        add(f"sun_{depth}_colours_runs.ras", sun(width, height, depth, 2, [sun_runs(b"".join(rows))], colours))
    flat = [bytes([7]) * (22 * 30)]
    add("sun_long_runs.ras", sun(22, 30, 8, 2, [sun_runs(flat[0])]))
    add("damaged_sun_short.ras", sun(width, height, 24, 1, padded)[:500])
    add("damaged_sun_runs_short.ras", FILES["sun_24_runs.ras"][:-3])
    add("damaged_sun_colours.ras", sun(width, height, 8, 1, padded, bytes(900)))
    add("damaged_sun_colour_kind.ras", sun(width, height, 8, 1, padded, bytes(30), 2))
    add("damaged_sun_type.ras", sun(width, height, 8, 7, padded))
    add("damaged_sun_depth.ras", sun(width, height, 16, 1, padded))


def sgi(width, height, channels, depth, rows):
    """With runs; `rows` from the bottom to the top, those of each channel together."""
    table, body, at = [], b"", 512 + 8 * len(rows)
    for row in rows:
        samples = [row[n : n + depth] for n in range(0, len(row), depth)]
        chunks, n = [], 0
        mark = bytes(depth - 1)
        while n < len(samples):
            run = 1
            while n + run < len(samples) and run < 127 and samples[n + run] == samples[n]:
                run += 1
            if run > 1:
                chunks.append(mark + bytes([run]) + samples[n])
                n += run
            else:
                end = n + 1
                while end < len(samples) and end - n < 127 and samples[end] != samples[end - 1]:
                    end += 1
                chunks.append(mark + bytes([0x80 | (end - n)]) + b"".join(samples[n:end]))
                n = end
        chunks.append(bytes(depth))
        table.append((at, len(chunks)))
        body += b"".join(chunks)
        at += len(b"".join(chunks))
    head = struct.pack(">HBB4H", 474, 1, depth, 3 if channels > 1 else 2, width, height, channels)
    starts = b"".join(struct.pack(">I", start) for start, _ in table)
    lengths = b"".join(struct.pack(">I", count) for _, count in table)
    return head.ljust(512, b"\0") + starts + lengths + body


def sgis():
    image = Image.fromarray(picture(27, 19))
    for mode in ("L", "RGB", "RGBA"):
        for bpc in (1, 2):
            add(f"sgi_{mode}_{8 * bpc}.sgi", saved(image.convert(mode), format="SGI", bpc=bpc))
    draw = np.random.default_rng(9)
    for channels in (1, 3, 4):
        for depth in (1, 2):
            rows = [(draw.integers(0, 4, 27 * depth) * (n % 5 * 20)).astype(np.uint8).tobytes() for n in range(channels * 19)]
            add(f"sgi_{channels}_runs_{8 * depth}.sgi", sgi(27, 19, channels, depth, rows))
    whole = FILES["sgi_3_runs_8.sgi"]
    # A row that says one run less than it has: Pillow leaves what follows black.
    fewer = bytearray(whole)
    at = 512 + 4 * 57 + 4 * 7
    fewer[at + 3] -= 1
    add("damaged_sgi_fewer_runs.sgi", bytes(fewer))
    longer = bytearray(whole)
    longer[512 + 8 * 57] = 0x7F
    add("damaged_sgi_long_run.sgi", bytes(longer))
    inside = bytearray(whole)
    inside[512:516] = struct.pack(">I", 100)
    add("damaged_sgi_within_header.sgi", bytes(inside))
    ends = bytearray(whole)
    start = struct.unpack_from(">I", whole, 512 + 4 * 5)[0]
    ends[start] = 0
    add("damaged_sgi_empty_row.sgi", bytes(ends))
    add("damaged_sgi_cut.sgi", whole[:-2])
    add("damaged_sgi_last_byte.sgi", whole[:-1])
    add("damaged_sgi_raw_cut.sgi", FILES["sgi_RGB_8.sgi"][:-9])
    add("damaged_sgi_two_channels.sgi", whole[:10] + b"\0\2" + whole[12:])
    add("damaged_sgi_compression.sgi", whole[:2] + b"\2" + whole[3:])


def curs():
    square = Image.fromarray(picture(48, 48))

    def cursor(icon):
        """A bitmap icon as a cursor."""
        return b"\0\0\2\0" + icon[4:]

    for mode in ("1", "L", "P", "RGB", "RGBA"):
        data = saved(square.convert(mode), format="ICO", sizes=[(48, 48)], bitmap_format="bmp")
        add(f"cur_{mode}.cur", cursor(data))
    odd = saved(Image.fromarray(picture(33, 20)), format="ICO", sizes=[(33, 20)], bitmap_format="bmp")
    add("cur_odd.cur", cursor(odd))
    draw = np.random.default_rng(10)
    for bits, colours in ((1, 2), (4, 16), (8, 256)):
        ramp = [bytes([255 * n // (colours - 1)] * 3) + b"\0" for n in range(colours)]
        stride = (32 * bits + 31) // 32 * 4
        rows = draw.integers(0, 256, stride * 2 * 20, dtype=np.uint8).tobytes()
        head = struct.pack("<IIIHHIIIIII", 40, 32, 40, 1, bits, 0, 0, 0, 0, colours, 0)
        bitmap = head + b"".join(ramp) + rows
        entry = struct.pack("<BBBBHHII", 32, 20, 0, 0, 0, 0, len(bitmap), 22)
        add(f"cur_mask_{bits}.cur", b"\0\0\2\0\1\0" + entry + bitmap)
        coloured = head + b"".join(bytes([n, 255 - n, n // 2, 0]) for n in range(colours)) + rows
        add(f"cur_colours_{bits}.cur", b"\0\0\2\0\1\0" + entry + coloured)
    add("damaged_cur_mask_short.cur", FILES["cur_mask_1.cur"][:-30])
    add("damaged_cur_empty.cur", b"\0\0\2\0\0\0")
    add("damaged_cur_png.cur", cursor(saved(square, format="ICO", sizes=[(48, 48)])))
    add("damaged_cur_outside.cur", odd[:2] + b"\2" + odd[3:18] + b"\xff\xff\xff\x7f" + odd[22:])


def icns(*parts):
    body = b"".join(name + struct.pack(">I", len(data) + 8) + data for name, data in parts)
    return b"icns" + struct.pack(">I", len(body) + 8) + body


def icns_runs(plane):
    out, at = b"", 0
    while at < len(plane):
        run = 1
        while at + run < len(plane) and run < 130 and plane[at + run] == plane[at]:
            run += 1
        if run > 2:
            out += bytes([run + 125]) + plane[at : at + 1]
        else:
            run = min(run, len(plane) - at)
            out += bytes([run - 1]) + plane[at : at + run]
        at += run
    return out


def icnses():
    def png_of(side, mode="RGBA"):
        return saved(Image.fromarray(picture(side, side)).convert(mode), format="PNG")

    add("icns_png.icns", icns((b"TOC ", bytes(8)), (b"icp4", png_of(16)), (b"ic11", png_of(32)), (b"ic12", png_of(64))))
    add("icns_png_rgb.icns", icns((b"icp6", png_of(64, "RGB"))))
    add("icns_png_palette.icns", icns((b"icp5", png_of(32, "P"))))
    add("icns_png_smaller.icns", icns((b"ic07", png_of(64))))
    add("damaged_icns_png_other.icns", icns((b"ic07", png_of(48))))
    add("damaged_icns_png_larger.icns", icns((b"icp4", png_of(64))))
    for side, name, mask in ((16, b"is32", b"s8mk"), (32, b"il32", b"l8mk"), (48, b"ih32", b"h8mk"), (128, b"it32", b"t8mk")):
        pixels = picture(side, side, 2, 1) // 8 * 8
        runs = b"".join(icns_runs(pixels[..., c].tobytes()) for c in range(3))
        before = bytes(4) if side == 128 else b""
        alpha = grey(side, side).tobytes()
        label = name.decode()
        add(f"icns_{label}.icns", icns((name, before + runs), (mask, alpha)))
        if side < 128:
            add(f"icns_{label}_plain.icns", icns((mask, alpha), (name, before + pixels.tobytes())))
            add(f"icns_{label}_no_mask.icns", icns((name, before + runs)))
            add(f"damaged_icns_{label}_mask.icns", icns((name, before + runs), (mask, alpha[:-1])))
            add(f"damaged_icns_{label}_only_mask.icns", icns((mask, alpha)))
            add(f"damaged_icns_{label}_short.icns", icns((name, runs[:-2])))
    add("icns_many.icns", icns((b"is32", bytes(768)), (b"icp5", png_of(32)), (b"info", b"x")))
    add("damaged_icns_none.icns", icns((b"info", b"x")))
    add("damaged_icns_head.icns", b"icns\0\0\1\0icp4\0\0")
    add("unsupported_jp2.icns", icns((b"ic08", saved(Image.fromarray(picture(256, 256)), format="JPEG2000"))))


# --- the rest ---------------------------------------------------------------------


def others():
    add("damaged_empty.bin", b"")
    add("damaged_text.txt", b"this is no image at all, but a text of some length\n" * 3)
    add("damaged_zeros.bin", bytes(200))
    image = Image.fromarray(picture(16, 16))
    add("unsupported.avif", saved(image, format="AVIF"))
    add("unsupported.jp2", saved(image, format="JPEG2000"))
    add("unsupported.pdf", b"%PDF-1.4\n" + b"0" * 40)
    add("unsupported.svg", b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="http://www.w3.org/2000/svg"/>')
    add("unsupported.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    add("unsupported.jxl", b"\xff\x0a" + bytes(40))
    add("unsupported.psd", b"8BPS\0\1" + bytes(40))


def pnms():
    image, small = Image.fromarray(picture(61, 43)), picture(9, 5)
    for mode in ("1", "L", "RGB", "F"):
        add(f"pnm_{mode}.pnm", saved(image.convert(mode), format="PPM"))
    add("pnm_16.pgm", saved(Image.fromarray(grey(61, 43).astype(np.int32) * 3), format="PPM"))
    header = lambda kind, most: f"P{kind}\n# a comment\n9 5\n{most}\n".encode()
    for most in (1, 7, 254, 256, 1000, 65535):
        wide = (small.astype(np.uint32) * most // 255).astype(">u2" if most > 255 else np.uint8)
        words = " ".join(map(str, wide.reshape(-1))).encode()
        add(f"pnm_plain_rgb_{most}.ppm", header(3, most) + words)
        add(f"pnm_raw_rgb_{most}.ppm", header(6, most) + wide.tobytes())
        one = np.ascontiguousarray(wide[..., 1])
        add(f"pnm_plain_grey_{most}.pgm", header(2, most) + " ".join(map(str, one.reshape(-1))).encode() + b"\n")
        add(f"pnm_raw_grey_{most}.pgm", header(5, most) + one.tobytes())
    add("pnm_plain_bits.pbm", b"P1 9 # x\n5\n" + b"011 0\n#01\n1" * 12)
    add("pnm_brighter.pgm", header(5, 7) + bytes(range(45)))
    add("pnm_float_be.pfm", b"Pf\n9 5\n1.0\n" + (small[..., 0].astype(">f4") * 1.3 - 20).tobytes())
    add("damaged_pnm_short.ppm", header(6, 255) + bytes(100))
    add("damaged_pnm_plain_short.ppm", header(3, 255) + b"1 2 3 4")
    add("damaged_pnm_plain_bright.ppm", header(3, 7) + b"8 " * 200)
    add("damaged_pnm_plain_word.pgm", header(2, 7) + b"1 x " * 200)
    add("damaged_pnm_digit.pbm", b"P1 9 5 " + b"01x" * 20)
    add("damaged_pnm_word_behind.pbm", b"P1 9 5 " + b"01" * 30 + b" P")
    add("pnm_digits_behind.pbm", b"P1 9 5 " + b"01" * 30 + b"# P\n1")
    add("damaged_pnm_most.pgm", header(5, 0) + bytes(45))
    add("damaged_pnm_long_word.pgm", b"P5 12345678901 5 255 " + bytes(45))
    add("damaged_pnm_only_magic.pgm", b"P5 ")


def tgas():
    image = Image.fromarray(picture(61, 43))
    modes = {"rgb": image, "grey": image.convert("L"), "la": image.convert("LA"), "bits": image.convert("1")}
    modes |= {"rgba": image.convert("RGBA"), "palette": image.quantize(200)}
    for mode, source in modes.items():
        for name, compression in (("raw", None), ("rle", "tga_rle")):
            if mode == "bits" and compression:
                continue
            for orientation in (1, -1):
                data = saved(source, format="TGA", compression=compression, orientation=orientation)
                add(f"tga_{mode}_{name}_{orientation % 3}.tga", data)
                if mode in ("rgb", "palette") and orientation == 1:
                    flipped = bytearray(data)
                    flipped[17] |= 0x10
                    add(f"tga_{mode}_{name}_flipped.tga", bytes(flipped))

    def tga(width, height, kind, depth, body, flags=0x20, colours=(0, 0, 0, 0)):
        head = struct.pack("<BBBHHB", 0, *colours[:1], kind, *colours[1:])
        return head + struct.pack("<HHHHBB", 0, 0, width, height, depth, flags) + body

    noise = np.random.default_rng(3).integers(0, 256, 400, dtype=np.uint8).tobytes()
    add("tga_16.tga", tga(9, 7, 2, 16, noise[:126]))
    add("tga_map_16.tga", tga(9, 7, 1, 8, noise[:200] + bytes(i % 100 for i in range(63)), 0, (1, 0, 100, 16)))
    add("tga_map_32.tga", tga(9, 7, 1, 8, noise[:200] + bytes(i % 60 for i in range(63)), 0, (1, 5, 50, 32)))
    add("tga_literals_cross_rows.tga", tga(2, 2, 11, 8, b"\3\1\2\3\4"))
    add("tga_trailing_garbage.tga", saved(image, format="TGA") + b"junk" * 10)
    add("tga_literals_behind.tga", tga(2, 2, 11, 8, b"\x05\1\2\3\4\5\6"))
    add("damaged_tga_literals_cut.tga", tga(2, 2, 11, 8, b"\x05\1\2\3\4\5"))
    add("damaged_tga_runs_cross_rows.tga", tga(2, 2, 11, 8, b"\x83\7" + bytes(20)))
    add("damaged_tga_short.tga", tga(9, 7, 2, 24, noise[:100]))
    add("damaged_tga_rle_short.tga", tga(9, 7, 10, 24, noise[:9]))
    add("damaged_tga_no_footer.tga", tga(1, 1, 2, 32, noise[:4]))
    add("damaged_tga_depth.tga", tga(9, 7, 3, 24, noise))
    add("damaged_tga_map_and_colours.tga", tga(9, 7, 2, 24, noise[:30] + noise[:189] + bytes(8) + b"TRUEVISION-XFILE.\0", 0x20, (1, 0, 10, 24)))
    add("damaged_tga_map_15.tga", tga(9, 7, 1, 8, noise, 0, (1, 0, 20, 15)))


def qois():
    image = Image.fromarray(picture(61, 43))
    for mode in ("RGB", "RGBA"):
        add(f"qoi_{mode}.qoi", saved(image.convert(mode), format="QOI"))
    flat = np.repeat(np.repeat(picture(9, 5, noise=0), 7, 0), 30, 1)
    data = saved(Image.fromarray(flat), format="QOI")
    add("qoi_runs.qoi", data)
    add("qoi_first_run.qoi", b"qoif" + struct.pack(">IIBB", 3, 2, 3, 0) + b"\xc1\x35\xc0\xfe\1\2\3\x00\x35" + bytes(8))
    add("damaged_qoi_short.qoi", data[:200])
    add("damaged_qoi_only_magic.qoi", data[:11])


def icos():
    image = Image.fromarray(picture(61, 43))
    square = Image.fromarray(picture(48, 48))
    add("ico_png.ico", saved(image, format="ICO"))
    add("ico_sizes.ico", saved(square, format="ICO", sizes=[(16, 16), (48, 48), (32, 32)]))
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        data = saved(square.convert(mode), format="ICO", sizes=[(48, 48)], bitmap_format="bmp")
        add(f"ico_{mode}.ico", data)
    odd = Image.fromarray(picture(33, 20))
    data = saved(odd, format="ICO", sizes=[(33, 20)], bitmap_format="bmp")
    add("ico_odd.ico", data)
    add("damaged_ico_short_mask.ico", data[:-2])
    add("damaged_ico_empty.ico", b"\0\0\1\0\0\0")
    add("damaged_ico_outside.ico", data[:18] + b"\xff\xff\xff\x7f" + data[22:])
    # The directory's bits say whether there is alpha, which is read of every fourth byte.
    for mode in ("P", "RGB", "RGBA"):
        own = bytearray(saved(square.convert(mode), format="ICO", sizes=[(48, 48)], bitmap_format="bmp"))
        for bits in (8, 32):
            struct.pack_into("<H", own, 12, bits)
            add(f"ico_{mode}_says_{bits}.ico", bytes(own))
        add(f"ico_{mode}_says_32_short.ico", bytes(own[:-300]))
    many = saved(square, format="ICO", sizes=[(48, 48)], bitmap_format="bmp")
    # Two of the same size: the one of fewer colours counts.
    four = saved(square.convert("P"), format="ICO", sizes=[(48, 48)], bitmap_format="bmp")
    first, second = bytearray(many[6:22]), bytearray(four[6:22])
    struct.pack_into("<I", first, 12, 38)
    struct.pack_into("<I", second, 12, 38 + len(many) - 22)
    add("ico_same_size.ico", b"\0\0\1\0\2\0" + bytes(first) + bytes(second) + many[22:] + four[22:])


# --- Pillow's results -------------------------------------------------------------


def verdict(data):
    try:
        with Image.open(io.BytesIO(data)) as opened:
            mode = opened.mode
            rgb = opened.convert("RGB")
    except Exception as error:
        # Without addresses of objects, which would change with each run.
        return {"error": f"{type(error).__name__}: {error}".partition(" <_io")[0][:60]}
    digest = hashlib.sha256(rgb.tobytes()).hexdigest()[:32]
    return {"mode": mode, "width": rgb.width, "height": rgb.height, "sha256": digest}


VARIANTS = (
    "jpeg_420.jpg jpeg_420_progressive.jpg jpeg_restart.jpg jpeg_grey.jpg jpeg_cmyk.jpg "
    "jpeg_411_apart.jpg jpeg_optimized.jpg "
    "png_rgb_8.png png_palette_4.png png_rgb_8_interlaced.png png_grey_16.png "
    "gif_plain.gif gif_interlaced.gif gif_within_transparent.gif gif_animated.gif "
    "webp_lossy_90_61x43.webp webp_lossless_61x43.webp webp_animated_lossy.webp webp_lossy_alpha.webp "
    "bmp_24.bmp bmp_8.bmp bmp_rle8_literals.bmp bmp_16_565.bmp "
    "tiff_rgb_raw.tif tiff_rgb_lzw.tif tiff_rgb_adobe_deflate.tif tiff_palette_raw.tif tiff_rgb_packbits.tif "
    "tiff_rgb_zstd.tif tiff_rgb_lzma.tif tiff_ycc_22_deflate.tif tiff_grey_12_le.tif "
    "pcx_P.pcx pcx_RGB.pcx pcx_4_planes.pcx sun_24_1.ras sun_8_runs.ras sgi_RGB_8.sgi sgi_3_runs_8.sgi "
    "cur_P.cur cur_mask_1.cur icns_is32.icns icns_png.icns "
    "tiff_old_jpeg_tables_22.tif tiff_old_jpeg_strips_22.tif tiff_old_jpeg_head_21.tif "
    "tiff_float_predictor_1_le.tif tiff_lab_predictor.tif xbm_plain.xbm xpm_plain.xpm xpm_300_colours.xpm "
    "dds_DXT5.dds dds_RGB.dds dds_palette.dds dds_bc7_every.dds"
).split()


def faxes():
    """Rows of runs of every length that has a code, in every fax compression."""
    draw = random.Random(11)
    width, rows = 2731, []
    lengths = [*range(64), *range(64, 2624, 64), 2600, 2731] * 4
    draw.shuffle(lengths)
    while lengths or len(rows) < 40:
        row, black = [], len(rows) // 2 % 2 == 1
        while len(row) < width:
            length = lengths.pop() if lengths and draw.random() < 0.5 else draw.choice([1, 2, 3, 7, 20, 64, 130, 900])
            row += [black] * length
            black = not black
        rows.append(row[:width])
        # The row below is like it, here and there shifted by some pixels.
        below = list(rows[-1])
        for at in range(5, width - 5, draw.randrange(20, 90)):
            span = draw.randrange(1, 5)
            below[at : at + span] = [below[at - 1]] * span
        rows.append(below)
    image = Image.fromarray(np.array(rows, dtype=bool))
    for name, compression, tags in (
        ("group3", "group3", {}),
        ("group3_2d", "group3", {292: 1}),
        ("group3_2d_aligned", "group3", {292: 5}),
        ("group4", "group4", {}),
        ("ccitt", "tiff_ccitt", {}),
        ("group4_strips", "group4", {278: 7}),
        ("group3_2d_strips", "group3", {278: 7, 292: 1}),
        ("group4_white_is_one", "group4", {262: 1}),
    ):
        add(f"tiff_runs_{name}.tif", saved(image, format="TIFF", compression=compression, tiffinfo=tags))


def parts(data):
    """Segments of a JPEG by marker, and the data of its scan."""
    found, at = {}, 2
    while True:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        found.setdefault(marker, []).append(data[at + 4 : at + 2 + length])
        at += 2 + length
        if marker == 0xDA:
            return found, data[:at], data[at:-2]


def pointing(made, strips, pieces, order="<"):
    """A TIFF with pieces behind its strips, to whose places tags point."""
    made = dict(made)
    for tag, own in pieces.items():
        made[tag] = (4, [0] * len(own))
    at = len(tiff(made, strips, order))
    behind = b""
    for tag, own in pieces.items():
        places = []
        for nth, piece in enumerate(own):
            if nth and piece == own[nth - 1]:
                places.append(places[-1])
                continue
            places.append(at + len(behind))
            behind += piece
        made[tag] = (4, places)
    return tiff(made, strips, order) + behind


def stored_tables(found):
    """The tables of a JPEG as the tags of the directory point to them, one for each component."""
    huffman = {body[0]: body[1:] for body in found[0xC4]}
    return {519: [found[0xDB][0][1:]] * 3, 520: [huffman[0]] + [huffman[1]] * 2, 521: [huffman[16]] + [huffman[17]] * 2}


def patched(file, values):
    """A little-endian TIFF with other values of tags that have one LONG."""
    out = bytearray(file)
    for tag, value in values.items():
        at = out.index(struct.pack("<HHI", tag, 4, 1)) + 8
        out[at : at + 4] = struct.pack("<I", value)
    return bytes(out)


def scans(data):
    """A JPEG up to its first scan; then for each scan its header and its data."""
    at, before, found = 2, None, []
    while data[at + 1] != 0xD9:
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        if data[at + 1] == 0xDA:
            before = before or data[:at]
            head = data[at:end]
            at = end
            while data[end] != 0xFF or data[end + 1] in (0, *range(0xD0, 0xD8)):
                end += 1
            found.append((head, data[at:end]))
        at = end
    return before, found


def old_jpeg_planes(made, planes):
    """Samples of a kind by themselves: a scan for each."""
    one = (1, 1)
    own = made(t530=(3, [1, 1]), t284=(3, [2]))
    data = jpeg(planes, [one] * 3, interleaved=False)
    head, found = scans(data)
    plain = [scan for _, scan in found]
    for name, said, strips in (
        ("in_strips", head, [start + scan for start, scan in found]),
        ("after_head", head + found[0][0], [plain[0]] + [start + scan for start, scan in found[1:]]),
        ("whole", data, plain),
    ):
        add(f"tiff_old_jpeg_planes_{name}.tif", pointing(own | {514: (4, [len(said)])}, strips, {513: [said]}))
    head, found = scans(jpeg(planes, [one] * 3, interleaved=False, restart=6))
    strips = []
    for start, scan in found:
        first, *others = re.split(rb"\xff[\xd0-\xd7]", scan)
        strips += [start + first, *others]
    own = made(8, t530=(3, [1, 1]), t284=(3, [2]), t514=(4, [len(head)]))
    add("tiff_old_jpeg_planes_strips.tif", pointing(own, strips, {513: [head]}))
    halved = jpeg(planes, [(2, 1), one, one], interleaved=False)
    head, found = scans(halved)
    own = made(t530=(3, [2, 1]), t284=(3, [2]), t514=(4, [len(head)]))
    add("damaged_tiff_old_jpeg_planes_halved.tif", pointing(own, [start + scan for start, scan in found], {513: [head]}))


def old_jpeg_tiles(pixels, tile, factors, told=None):
    """A JPEG in which tiles lie one below the other, those of each row of tiles from the left: its
    header, which may say that it has so many lines, and the data of each tile."""
    across, down = tile
    height, width = (-(-side // unit) * unit for side, unit in zip(pixels.shape[:2], (down, across)))
    padded = np.pad(pixels, ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0)), "edge")
    tiles = [padded[y : y + down, x : x + across] for y in range(0, height, down) for x in range(0, width, across)]
    units = -(-across // (8 * factors[0])) * (down // (8 * factors[1]))
    data = jpeg(ycc(np.concatenate(tiles)), [factors, (1, 1), (1, 1)], restart=units)
    _, head, scan = parts(data)
    if told:
        at = head.index(b"\xff\xc0") + 5
        head = head[:at] + struct.pack(">H", told) + head[at + 2 :]
    return head, re.split(rb"\xff[\xd0-\xd7]", scan)


def old_jpeg_columns():
    """Several columns of tiles, which libtiff reads if the header says that all tiles are there."""
    for name, tile, factors, told in [
        ("11", (32, 16), (1, 1), None),
        ("22", (32, 16), (2, 2), None),
        ("deep", (16, 16), (2, 1), 60_000),
        ("tall", (32, 64), (1, 1), None),
        ("shallow", (32, 16), (1, 1), 48),
    ]:
        head, strips = old_jpeg_tiles(picture(60, 44, 3), tile, factors, told)
        made = tags(60, 44, [8] * 3, 6, 6, t512=(3, [1]), t514=(4, [len(head)]), t322=(4, [tile[0]]), t323=(4, [tile[1]]))
        del made[278]
        add(f"tiff_old_jpeg_columns_{name}.tif", pointing(made | {530: (3, [*factors])}, strips, {513: [head]}))


def old_jpegs():
    width, height = 45, 38
    planes = ycc(picture(width, height, 3))
    one = (1, 1)

    def made(rows=None, **more):
        return tags(width, height, [8] * 3, 6, 6, rows=rows, t512=(3, [1]), **more)

    # libjpeg decodes none of the last three.
    for across, down in [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2), (4, 4), (2, 4), (1, 4)]:
        data = jpeg(planes, [(across, down), one, one])
        found, head, scan = parts(data)
        said = {"t530": (3, [across, down])}
        name = f"{across}{down}"
        # Only tables, with one strip of coded data; the whole JPEG; its header, and a strip.
        add(f"tiff_old_jpeg_tables_{name}.tif", pointing(made(**said), [scan], stored_tables(found)))
        add(f"tiff_old_jpeg_whole_{name}.tif", pointing(made(t514=(4, [len(data)])), [], {513: [data]}))
        add(f"tiff_old_jpeg_head_{name}.tif", pointing(made(t514=(4, [len(head)]), **said), [scan], {513: [head]}))
        if down > 2:
            continue
        # Strips of one row of units each, which are what lies between restart markers.
        units = -(-width // (8 * across))
        data = jpeg(planes, [(across, down), one, one], restart=units)
        found, head, scan = parts(data)
        strips, at = [], 0
        for n in range(-(-height // (8 * down)) - 1):
            end = scan.index(bytes([0xFF, 0xD0 + n % 8]), at)
            strips.append(scan[at:end])
            at = end + 2
        strips.append(scan[at:])
        add(f"tiff_old_jpeg_strips_{name}.tif", pointing(made(8 * down, **said), strips, stored_tables(found)))
        add(f"tiff_old_jpeg_head_strips_{name}.tif", pointing(made(8 * down, t514=(4, [len(head)])), strips, {513: [head]}))
        # The whole with its markers in one strip.
        add(f"tiff_old_jpeg_restarts_{name}.tif", pointing(made(t515=(3, [units]), **said), [scan], stored_tables(found)))
        add(f"tiff_old_jpeg_restarts_whole_{name}.tif", pointing(made(t514=(4, [len(data)])), [], {513: [data]}))
        if (across, down) == (2, 2):
            big = made(8 * down, **said)
            add("tiff_old_jpeg_strips_big_endian.tif", pointing(big, strips, stored_tables(found), ">"))
    data = jpeg(planes, [(2, 2), one, one])
    found, head, scan = parts(data)
    tables = stored_tables(found)
    add("tiff_old_jpeg_big_endian.tif", pointing(made(), [scan], tables, ">"))
    add("tiff_old_jpeg_all_in_strip.tif", tiff(made(), [data]))
    add("tiff_old_jpeg_head_without_length.tif", pointing(made(), [scan], {513: [data]}))
    # The strip lies within the interchange format, as most writers have it.
    file = tiff(made(t513=(4, [0]), t514=(4, [len(data)])), [data])
    at = len(file) - len(data)
    add("tiff_old_jpeg_strip_within.tif", patched(file, {513: at, 273: at + len(head), 279: len(scan)}))
    file = tiff(made(t513=(4, [0]), t514=(4, [len(head)])), [data])
    add("tiff_old_jpeg_no_count.tif", patched(file, {513: at, 273: at + len(head), 279: 0}))
    for name, change in {
        "rgb": {262: (3, [2])},
        "grey": {262: (3, [1])},
        "planes": {284: (3, [2])},
        "weights": {529: (5, [2126, 10000, 7152, 10000, 722, 10000])},
        "video": {532: (5, [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1])},
        "turned": {274: (3, [6])},
        "too_small": {257: (4, [height + 9]), 278: (4, [height + 9])},
        "smaller": {257: (4, [height - 9]), 278: (4, [height - 9])},
        "wider": {256: (4, [width + 1])},
        "four_bits": {258: (3, [4] * 3)},
        "reversed": {266: (3, [2])},
        "alpha": {258: (3, [8] * 4), 277: (3, [4]), 338: (3, [1])},
        "one_sample": {258: (3, [8]), 277: (3, [1])},
    }.items():
        own = pointing(made(t514=(4, [len(data)])) | change, [scan], {513: [data]})
        add(f"tiff_old_jpeg_{name}.tif", own)
    for name, missing in (("samples", 277), ("photometric", 262), ("bits", 258), ("rows", 278)):
        own = made(t514=(4, [len(head)]))
        del own[missing]
        add(f"tiff_old_jpeg_no_{name}.tif", pointing(own, [scan], {513: [head]}))
    old_jpeg_planes(made, planes)
    old_jpeg_columns()
    padded = [np.pad(plane, ((0, -height % 48), (0, -width % 48)), "edge") for plane in planes]
    tile = parts(jpeg(padded, [(2, 2), one, one]))
    tiled = made(t322=(4, [48]), t323=(4, [48]), t530=(3, [2, 2]))
    del tiled[278]
    add("tiff_old_jpeg_tile.tif", pointing(tiled, [tile[2]], stored_tables(tile[0])))
    colours = [picture(width, height, 3)[..., c] for c in range(3)]
    own = jpeg(colours, [one] * 3, ids=[82, 71, 66])
    add("tiff_old_jpeg_rgb_ids.tif", pointing(made(t514=(4, [len(own)])), [], {513: [own]}))
    own = jpeg(planes, [(2, 2), one, one], before=JFIF + ADOBE + b"\0" + b"\xff\xfe\0\6more")
    add("tiff_old_jpeg_segments.tif", pointing(made(t514=(4, [len(own)])), [], {513: [own]}))
    one_segment = b"".join(found[0xC4])
    own = data[:2] + b"\xff\xc4" + struct.pack(">H", len(one_segment) + 2) + one_segment
    own += head[2:].replace(HUFFMAN_SEGMENTS, b"")
    add("tiff_old_jpeg_tables_together.tif", pointing(made(t514=(4, [len(own)])), [scan], {513: [own]}))
    add("damaged_tiff_old_jpeg_no_tables.tif", tiff(made(), [scan]))
    for missing in (519, 520, 521):
        own = {tag: pieces for tag, pieces in tables.items() if tag != missing}
        add(f"damaged_tiff_old_jpeg_no_{missing}.tif", pointing(made(), [scan], own))
    own = head.replace(b"\xff\xc0", b"\xff\xc2")
    add("damaged_tiff_old_jpeg_progressive.tif", pointing(made(t514=(4, [len(own)])), [scan], {513: [own]}))
    own = head.replace(b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\x07")
    add("damaged_tiff_old_jpeg_fifth_table.tif", pointing(made(t514=(4, [len(own)])), [scan], {513: [own]}))
    luma = jpeg(planes, [one, (2, 2), (2, 2)])
    add("damaged_tiff_old_jpeg_fine_chroma.tif", pointing(made(t514=(4, [len(luma)])), [], {513: [luma]}))
    add("damaged_tiff_old_jpeg_strips_of_5.tif", pointing(made(5), [scan] * 8, tables))
    add("damaged_tiff_old_jpeg_empty.tif", pointing(made(), [b"\xff\xd9"], tables))
    half = pointing(made(), [scan], tables)
    add("damaged_tiff_old_jpeg_half.tif", half.replace(scan, scan[: len(scan) // 2] + b"\0" * (len(scan) - len(scan) // 2)))


def predicted_floats(row):
    """A row whose bytes of each significance are together, as differences to the left."""
    planes = np.frombuffer(row.astype(">f4").tobytes(), np.uint8).reshape(-1, 4).T.reshape(-1)
    return np.diff(planes.astype(int), prepend=0).astype(np.uint8).tobytes()


def float_tiffs():
    width, height = 21, 18
    values = (grey(width, height).astype(np.float32) * 1.5 - 20.25) * np.float32(1.01)
    rows = [predicted_floats(row) for row in values]
    for order, label in (("<", "le"), (">", "be")):
        for photometric in (0, 1):
            own = tags(width, height, [32], photometric, 8, rows=7, t317=(3, [3]), t339=(3, [3]))
            add(f"tiff_float_predictor_{photometric}_{label}.tif", tiff(own, deflate(in_strips(rows, 7)), order))
    own = tags(width, height, [32], 1, 34925, t317=(3, [3]), t339=(3, [3]))
    add("tiff_float_predictor_lzma.tif", tiff(own, [lzma.compress(b"".join(rows))]))
    padded = np.pad(values, ((0, -height % 16), (0, -width % 16)))
    tiles = []
    for y in range(0, height, 16):
        for x in range(0, width, 16):
            tiles.append(b"".join(map(predicted_floats, padded[y : y + 16, x : x + 16])))
    own = tags(width, height, [32], 1, 8, t317=(3, [3]), t339=(3, [3]), t322=(4, [16]), t323=(4, [16]))
    del own[278]
    add("tiff_float_predictor_tiles.tif", tiff(own, deflate(tiles)))
    # Pillow reads these the wrong way round.
    for kind, bits, code in ((3, 32, "f4"), (2, 32, "i4"), (2, 16, "i2")):
        own = tags(width, height, [bits], 1, 8, t339=(3, [kind]))
        add(f"tiff_big_endian_{code}_deflate.tif", tiff(own, deflate([values.astype(">" + code).tobytes()]), ">"))
        own[259] = (3, [1])
        add(f"tiff_big_endian_{code}.tif", tiff(own, [values.astype(">" + code).tobytes()], ">"))
    own = tags(width, height, [8], 1, 8, t317=(3, [3]))
    add("damaged_tiff_float_predictor_bytes.tif", tiff(own, deflate([grey(width, height).tobytes()])))
    own = tags(width, height, [32], 1, 8, t317=(3, [3]), t339=(3, [2]))
    add("damaged_tiff_float_predictor_integers.tif", tiff(own, deflate(in_strips(rows, height))))


def lab_tiffs():
    width, height = 61, 43
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    # Colours that there are in the upper half, those of no light in the lower one.
    pixels[: height // 2, :, 1:] = rng.integers(-40, 40, (height // 2, width, 2)).astype(np.uint8)
    rows = packed(pixels, 8)
    add("tiff_lab_strips.tif", tiff(tags(width, height, [8] * 3, 8, rows=7), in_strips(rows, 7)))
    own = tags(width, height, [8] * 3, 8, 8, rows=7, t317=(3, [2]))
    differences = np.diff(pixels.astype(int), axis=1, prepend=0).astype(np.uint8)
    add("tiff_lab_predictor.tif", tiff(own, deflate(in_strips(packed(differences, 8), 7))))
    planes = [s for c in range(3) for s in in_strips(packed(pixels[..., c : c + 1], 8), 7)]
    own = tags(width, height, [8] * 3, 8, rows=7, t284=(3, [2]))
    add("tiff_lab_planar.tif", tiff(own, planes))
    own[259] = (3, [8])
    add("tiff_lab_planar_deflate.tif", tiff(own, deflate(planes)))
    ends = np.array(np.meshgrid([0, 1, 127, 128, 129, 254, 255], [0, 1, 127, 128, 129, 254, 255], [0, 127, 128, 255]), np.uint8)
    ends = ends.reshape(3, -1).T.reshape(14, 14, 3)
    add("tiff_lab_ends.tif", tiff(tags(14, 14, [8] * 3, 8), [ends.tobytes()]))
    add("tiff_lab_16.tif", tiff(tags(14, 14, [16] * 3, 8), [ends.repeat(2).tobytes()]))


# --- X11 --------------------------------------------------------------------------


def xbms():
    bits = Image.fromarray(grey(37, 19, 4)).convert("1")
    plain = saved(bits, format="XBM")
    add("xbm_plain.xbm", plain)
    add("xbm_hotspot.xbm", saved(bits, format="XBM", hotspot=(3, 4)))
    head, data = plain.split(b"{\n")
    add("xbm_unsigned.xbm", plain.replace(b"static char", b"static unsigned char"))
    add("xbm_comment.xbm", b"/* a\n * comment */\n" + plain)
    add("xbm_comment_of_one_line.xbm", b"/* a comment */\n" + plain)
    add("xbm_empty_line.xbm", b"\n" + plain)
    add("xbm_carriage_returns.xbm", plain.replace(b"\n", b"\r\n"))
    add("xbm_upper_case.xbm", head + b"{\n" + data.upper())
    add("xbm_one_digit.xbm", head + b"{\n" + data.replace(b"0x0", b"0x"))
    add("xbm_junk_between.xbm", head + b"{\n" + data.replace(b",", b" /* e */, "))
    add("xbm_no_end.xbm", plain[: plain.rindex(b"}") - 1])
    add("xbm_trailing.xbm", plain + b"and more" * 9)
    add("xbm_other_definition.xbm", b"#define im_depth 1\n" + plain)
    add("xbm_long_name.xbm", plain.replace(b"im_", b"a_name_of_more_than_seventy_five_characters_which_is_read_in_two_lines_im_"))
    add("xbm_no_width.xbm", plain.split(b"\n", 1)[1])
    add("xbm_width_of_word.xbm", plain.replace(b"im_width 37", b"im_width x"))
    add("xbm_brace_below.xbm", plain.replace(b" = {", b" =\n{"))
    add("xbm_no_space.xbm", plain.replace(b"[] = {", b"[]={"))
    add("xbm_size_in_brackets.xbm", plain.replace(b"[] =", b"[95] ="))
    add("damaged_xbm_short.xbm", plain[: len(plain) // 2])
    add("damaged_xbm_zero.xbm", plain.replace(b"im_width 37", b"im_width 0"))
    add("damaged_xbm_65535.xbm", plain.replace(b"im_width 37", b"im_width 65535").replace(b"im_height 19", b"im_height 65535"))
    add("damaged_text.c", b"/* A file of C. */\n#include <stdio.h>\n")
    add("damaged_text.h", b"#define X_WIDTH 12\n#define Y 3\nint main(void) {}\n")


def xpm(width, height, colours, keys, rows, size=None, pixels=b""):
    """Colours by key, and rows of keys."""
    out = b"/* XPM */\nstatic char * im[] = {\n"
    out += b'"' + (size or b"%d %d %d %d" % (width, height, len(colours), len(keys[0]))) + b'",\n'
    for key, colour in zip(keys, colours):
        out += b'"' + key + b" " + colour + b'",\n'
    return out + pixels + b",\n".join(b'"' + row + b'"' for row in rows) + b"};\n"


def xpms():
    width, height = 23, 17
    rng = np.random.default_rng(7)

    def drawn(count, letters):
        alphabet = b" .+@#$%&*=-;>,')!~{]^/(_:<[}|1234567890abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        keys = [bytes([alphabet[n // 90 ** i % 90] for i in range(letters)]) for n in range(count)]
        colours = [b"c #%06X" % int(v) for v in rng.integers(0, 1 << 24, count)]
        rows = [b"".join(keys[n] for n in row) for row in rng.integers(0, count, (height, width))]
        return colours, keys, rows

    def made(colours, keys, rows, **more):
        return xpm(width, height, colours, keys, rows, **more)

    colours, keys, rows = drawn(12, 1)
    plain = made(colours, keys, rows)
    add("xpm_plain.xpm", plain)
    add("xpm_none.xpm", made([b"c None"] + colours[1:], keys, rows))
    add("xpm_lower_case.xpm", made([c.lower() for c in colours], keys, rows))
    add("xpm_contexts.xpm", made([b"m white g #808080 " + c + b" s name" for c in colours], keys, rows))
    add("xpm_tabs.xpm", made([c.replace(b" ", b"\t") for c in colours], keys, rows))
    add("xpm_twelve_digits.xpm", made([c + b"A1B2C3" for c in colours], keys, rows))
    add("xpm_three_digits.xpm", made([c[:6] for c in colours], keys, rows))
    add("xpm_pixels_comment.xpm", made(colours, keys, rows, pixels=b"/* pixels */\n"))
    add("xpm_other_comment.xpm", made(colours, keys, rows, pixels=b"/* more */\n"))
    add("xpm_quoted_comment.xpm", made(colours, keys, rows, pixels=b'/* "more" */\n'))
    add("xpm_carriage_returns.xpm", plain.replace(b"\n", b"\r\n"))
    add("xpm_long_rows.xpm", made(colours, keys, [row + row[:3] for row in rows]))
    add("xpm_short_rows.xpm", made(colours, keys, [row[:-1] for row in rows]))
    add("xpm_one_line.xpm", made(colours, keys, [b"".join(rows)]))
    add("xpm_hotspot.xpm", made(colours, keys, rows, size=b"23 17 12 1 3 4"))
    add("xpm_extensions.xpm", made(colours, keys, rows, size=b"23 17 12 1 XPMEXT"))
    add("xpm_trailing.xpm", plain + b"more" * 5)
    add("xpm_same_key.xpm", made(colours, [keys[0]] + keys[:11], [row.replace(keys[11], keys[3]) for row in rows]))
    add("xpm_two_letters.xpm", made(*drawn(200, 2)))
    add("xpm_256_colours.xpm", made(*drawn(256, 2)))
    add("xpm_300_colours.xpm", made(*drawn(300, 2)))
    many = drawn(300, 2)
    add("xpm_300_colours_none.xpm", made([b"c None"] + many[0][1:], *many[1:]))
    add("xpm_quotation_mark.xpm", made(colours, [b'"'] + keys[1:], [row.replace(keys[0], b'"') for row in rows]))
    for name, bad in {
        "named_colour": made([b"c red"] + colours[1:], keys, rows),
        "no_colour": made([b"m white"] + colours[1:], keys, rows),
        "no_digits": made([b"c #"] + colours[1:], keys, rows),
        "no_value": made([b"c"] + colours[1:], keys, rows),
        "other_key": made(colours, keys, rows[:-1] + [b"?" * width]),
        "no_size": plain.replace(b'"23 17 12 1"', b'"23 17 12"'),
        "empty_size": plain.replace(b'"23 17 12 1"', b'"23  12 1"'),
        "spaces": plain.replace(b'"23 17', b'" 23 17'),
        "no_letters": made(colours, keys, rows, size=b"23 17 12 0"),
        "zero": made(colours, keys, rows, size=b"0 17 12 1"),
        "too_large": made(colours, keys, rows, size=b"65535 65535 12 1"),
        "too_few_colours": made(colours, keys, rows, size=b"23 17 11 1"),
        "too_many_colours": made(colours, keys, rows, size=b"23 17 99999 1"),
        "only_magic": b"/* XPM */",
        "short": plain[: len(plain) * 3 // 4],
        "one_row_less": made(colours, keys, rows[:-1]),
        "half_a_key": made(*drawn(30, 2)[:2], [b"abc"] * 40),
    }.items():
        add(f"damaged_xpm_{name}.xpm", bad)


# --- DDS --------------------------------------------------------------------------


def dds(width, height, flags, data, letters=b"\0" * 4, bits=0, masks=(0, 0, 0, 0), length=124):
    out = b"DDS " + struct.pack("<IIIIIII44x", length, 0x1007, height, width, 0, 0, 0)
    out += struct.pack("<II4sIIIII", 32, flags, letters, bits, *masks)
    return out.ljust(128, b"\0") + data


def bc7_blocks(rng):
    """Blocks of every mode and of every pattern of pairs, the rest of whose bits are drawn."""
    blocks = []
    for mode, (partition, patterns) in enumerate([(4, 16), (6, 64), (6, 64), (6, 64), (0, 8), (0, 8), (0, 4), (6, 64)]):
        for pattern in range(patterns):
            at = mode + 1 + partition
            value = int.from_bytes(rng.bytes(16), "little") >> at << at
            blocks.append((value | (pattern << (mode + 1) if partition else 0) | 1 << mode).to_bytes(16, "little"))
    return blocks


def ddses():
    width, height = 23, 17
    pixels = np.dstack([picture(width, height, 4), grey(width, height, 6)])
    image = Image.fromarray(pixels)
    for mode in ("RGB", "RGBA", "L", "LA"):
        add(f"dds_{mode}.dds", saved(image.convert(mode), format="DDS"))
    for kind in ("DXT1", "DXT3", "DXT5", "BC2", "BC3", "BC5"):
        own = image.convert("RGB" if kind == "BC5" else "RGBA")
        add(f"dds_{kind}.dds", saved(own, format="DDS", pixel_format=kind))
    rng = np.random.default_rng(17)
    blocks = -(-width // 4) * -(-height // 4)
    noise = rng.bytes(blocks * 16)
    for letters in (b"DXT1", b"DXT3", b"DXT5", b"BC4U", b"ATI1", b"BC5U", b"ATI2", b"BC5S"):
        add(f"dds_noise_{letters.decode()}.dds", dds(width, height, 4, noise, letters))
    for format in (27, 28, 29, 70, 71, 73, 74, 76, 77, 79, 80, 82, 83, 84, 97, 98, 99):
        data = struct.pack("<5I", format, 3, 0, 1, 0) + rng.bytes(width * height * 4)
        add(f"dds_dxgi_{format}.dds", dds(width, height, 4, data, b"DX10"))
    every = bc7_blocks(rng) + [bytes(16)] * 4
    every += every[: -len(every) % 16]
    data = struct.pack("<5I", 98, 3, 0, 1, 0) + b"".join(every)
    add("dds_bc7_every.dds", dds(64, len(every) // 16 * 4, 4, data, b"DX10"))
    for name, flags, bits, masks in (
        ("565", 0x40, 16, (0xF800, 0x7E0, 0x1F, 0)),
        ("555", 0x40, 16, (0x7C00, 0x3E0, 0x1F, 0)),
        ("4444", 0x41, 16, (0xF00, 0xF0, 0xF, 0xF000)),
        ("8_bits", 0x40, 8, (0xE0, 0x1C, 0x3, 0)),
        ("32_of_10", 0x41, 32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
        ("holes", 0x40, 32, (0x90900000, 0x5500, 0x12, 0)),
        ("40_bits", 0x40, 40, (0xFF, 0xFF0000, 0xFF000000, 0)),
        ("no_green", 0x40, 24, (0xFF0000, 0, 0xFF, 0)),
    ):
        add(f"dds_masks_{name}.dds", dds(width, height, flags, rng.bytes(width * height * bits // 8), bits=bits, masks=masks))
    add("dds_palette.dds", dds(width, height, 0x20, rng.bytes(1024) + rng.bytes(width * height), bits=8))
    add("dds_mipmaps.dds", FILES["dds_DXT1.dds"] + rng.bytes(99))
    plain = FILES["dds_RGB.dds"]
    for name, bad in {
        "no_bits": dds(width, height, 0x40, bytes(1600), masks=(255, 255, 255, 0)),
        "grey_24": dds(width, height, 0x20000, bytes(1600), bits=24),
        "grey_16_without_alpha": dds(width, height, 0x20000, bytes(1600), bits=16),
        "no_kind": dds(width, height, 8, bytes(1600), bits=8),
        "letters": dds(width, height, 4, bytes(1600), b"DXT2"),
        "srgb": dds(width, height, 4, struct.pack("<5I", 72, 3, 0, 1, 0) + bytes(1600), b"DX10"),
        "header": dds(width, height, 0x20000, bytes(1600), bits=8, length=125),
        "only_magic": b"DDS ",
        "within_header": plain[:100],
        "short": plain[:-1],
        "short_blocks": dds(width, height, 4, noise[:-1], b"DXT5"),
        "short_palette": dds(width, height, 0x20, bytes(1024 + width * height - 1), bits=8),
        "zero": dds(0, height, 0x20000, bytes(1600), bits=8),
        "65535": dds(65535, 65535, 4, bytes(1600), b"DXT1"),
    }.items():
        add(f"damaged_dds_{name}.dds", bad)
    add("unsupported_bc6h.dds", dds(8, 8, 4, struct.pack("<5I", 95, 3, 0, 1, 0) + bytes(64), b"DX10"))


class Booleans:
    """The boolean encoder of VP8 (RFC 6386, section 7.3)."""

    def __init__(self):
        self.low, self.range, self.bits = 0, 255, 0

    def put(self, bit, probability=128):
        split = 1 + ((self.range - 1) * probability >> 8)
        self.low, self.range = (self.low + split, self.range - split) if bit else (self.low, split)
        while self.range < 128:
            self.low, self.range, self.bits = self.low << 1, self.range << 1, self.bits + 1

    def number(self, value, bits):
        for bit in reversed(range(bits)):
            self.put(value >> bit & 1)

    def bytes(self):
        """What was put in so far; the low end is eight bits wide."""
        spare = -(self.bits + 8) % 8
        return (self.low << spare).to_bytes((self.bits + 8 + spare) // 8, "big")


def vp8_updates():
    """How likely each probability of coefficients is to be changed by a frame (RFC 6386, section 13.4)."""
    source = pathlib.Path(__file__).parent.parent / "crates/image/src/webp/lossy/updates.rs"
    _, numbers = source.read_text().split("=", 1)
    return [int(number) for number in re.findall(r"\d+", numbers)]


def vp8(draw, width, height, length):
    """A lossy WebP whose header is drawn and whose modes and coefficients are random bits, so that it
    goes where no encoder does. Each of its partitions has `length` bytes."""
    out = Booleans()
    some = lambda bits, signed=True: (out.put(1), out.number(draw.getrandbits(bits), bits), signed and out.put(draw.getrandbits(1)))
    optional = lambda bits, signed=True: some(bits, signed) if draw.random() < 0.5 else out.put(0)
    out.number(0, 2)
    segments = draw.random() < 0.4
    out.put(segments)
    if segments:
        with_map, with_data = draw.random() < 0.7, draw.random() < 0.7
        out.put(with_map), out.put(with_data)
        if with_data:
            out.put(draw.getrandbits(1))
            for bits in [7] * 4 + [6] * 4:
                optional(bits)
        if with_map:
            for _ in range(3):
                optional(8, False)
    out.put(draw.random() < 0.3)
    out.number(draw.choice([0, 5, 20, 63, draw.getrandbits(6)]), 6), out.number(draw.getrandbits(3), 3)
    deltas = draw.random() < 0.4
    out.put(deltas)
    if deltas:
        out.put(1)
        for _ in range(8):
            optional(6)
    partitions = draw.choice([0, 0, 1, 2, 3])
    out.number(partitions, 2)
    out.number(draw.choice([0, 10, 40, 127, draw.getrandbits(7)]), 7)
    for _ in range(5):
        optional(4)
    out.put(draw.getrandbits(1))
    # How likely it is that a block goes on, and that a coefficient is large.
    rate, most = draw.choice([0, 0, 0.1, 1]), draw.choice([40, 128, 255])
    for nth, update in enumerate(vp8_updates()):
        changed = draw.random() < rate
        out.put(changed, update)
        if changed:
            out.number(draw.randint(0, 255) if nth % 11 else 255 - draw.randint(0, most), 8)
    optional(8, False)
    modes = out.bytes() + draw.randbytes(120 + width * height)
    parts = [draw.randbytes(length) for _ in range(1 << partitions)]
    lengths = b"".join(len(part).to_bytes(3, "little") for part in parts[:-1])
    tag = (len(modes) << 5 | 1 << 4 | draw.randint(0, 3) << 1).to_bytes(3, "little")
    frame = tag + b"\x9d\x01\x2a" + struct.pack("<HH", width, height) + modes + lengths + b"".join(parts)
    frame += bytes(len(frame) % 2)
    chunk = b"WEBPVP8 " + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(chunk)) + chunk


def vp8s():
    for nth in range(24):
        draw = random.Random(nth)
        width, height = draw.randint(1, 34), draw.randint(1, 34)
        add(f"webp_random_bits_{nth}.webp", vp8(draw, width, height, 20 * (width + 16) * (height + 16) // 16))


def main():
    assert PIL.__version__ == "13.0.0", PIL.__version__
    formats = (jpegs, pngs, gifs, webps, bmps, tiffs, pnms, tgas, qois, icos)
    for make in (*formats, rare_tiffs, pcxs, suns, sgis, curs, icnses, old_jpegs, float_tiffs, lab_tiffs, xbms, xpms, ddses, others, vp8s):
        make()
    if OUT.exists():
        shutil.rmtree(OUT)
    OUT.mkdir(parents=True)
    expected = {}
    for name, data in FILES.items():
        (OUT / name).write_bytes(data)
        expected[name] = verdict(data)
    variants = []
    draw = random.Random(5)
    for name in VARIANTS:
        data = FILES[name]
        length = len(data)
        cuts = {1, 4, 10, 20, 30, length // 10, length // 4, length // 2, length * 3 // 4, length * 9 // 10}
        cuts |= {length - n for n in (1, 2, 3, 4, 5, 8, 12, 13, 16, 20)}
        for cut in sorted(cuts):
            variants.append({"file": name, "cut": cut, **verdict(data[:cut])})
        for _ in range(10):
            at, change = draw.randrange(2, length), draw.randrange(1, 256)
            broken = bytearray(data)
            broken[at] ^= change
            variants.append({"file": name, "flip": [at, change], **verdict(bytes(broken))})
    versions = {name: features.version(name) for name in ("libjpeg_turbo", "zlib_ng", "webp", "libtiff")}
    text = '{\n"made_with": ' + json.dumps({"pillow": PIL.__version__, **versions})
    text += ',\n"files": {\n' + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in expected.items())
    text += '\n},\n"variants": [\n' + ",\n".join(map(json.dumps, variants)) + "\n]\n}\n"
    (OUT / "expected.json").write_text(text)
    total = sum(path.stat().st_size for path in OUT.iterdir())
    print(len(FILES), "files,", len(variants), "variants,", total, "bytes")


if __name__ == "__main__":
    main()
