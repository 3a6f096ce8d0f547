"""Draws the pictures of `siglip2-embeddings conformance`, into crates/conformance/pictures.

    python tools/make_conformance_pictures.py

Each picture tests one property of how a server reads pictures. What is right comes from this
project's own decoder, whose pixels are compared with Pillow's elsewhere; a picture only has to
be such that the usual mistakes change its vector much: strong colours that differ from side to
side, and detail that a resize without antialiasing turns into something else.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

# The formats that Pillow reads and does not write.
from make_image_fixtures import icns, icns_runs, sun, xpm

OUT = Path(__file__).resolve().parent.parent / "crates" / "conformance" / "pictures"


def scene(width: int, height: int, seed: int) -> np.ndarray:
    """Soft fields of colour with shapes on them; no symmetry, so that turning it shows."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    corners = random.integers(0, 256, (4, 3))
    picture = (
        corners[0] * ((1 - u) * (1 - v))[..., None]
        + corners[1] * (u * (1 - v))[..., None]
        + corners[2] * ((1 - u) * v)[..., None]
        + corners[3] * (u * v)[..., None]
    )
    for _ in range(5):
        cx, cy, r = random.random(), random.random(), 0.08 + 0.2 * random.random()
        colour = random.integers(0, 256, 3)
        inside = (u - cx) ** 2 + (v - cy) ** 2 < r * r
        picture[inside] = colour
    return picture.round().astype(np.uint8)


def rgb(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(scene(width, height, seed))


def save(name: str, picture: Image.Image, **options) -> None:
    picture.save(OUT / name, **options)


def encoded(picture: Image.Image, format: str, **options) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def write(name: str, data: bytes) -> None:
    (OUT / name).write_bytes(data)


def seldom() -> None:
    """The formats that few servers are sent."""
    save("plain.avif", rgb(128, 96, 40), quality=90)
    # Icons: another picture in each size, so that taking a smaller one shows.
    sizes = {"sizes": [(48, 48), (16, 16)], "append_images": [rgb(16, 16, 42)]}
    save("png.ico", rgb(48, 48, 41), **sizes)
    bitmaps = encoded(rgb(48, 48, 43), "ICO", bitmap_format="bmp", **sizes)
    write("bitmap.ico", bitmaps)
    cursor = encoded(rgb(48, 48, 44), "ICO", bitmap_format="bmp", **sizes)
    write("plain.cur", b"\0\0\2\0" + cursor[4:])
    small = (b"icp4", encoded(rgb(16, 16, 45), "PNG"))
    write("png.icns", icns(small, (b"icp6", encoded(rgb(64, 64, 46), "PNG"))))
    planes = b"".join(icns_runs(plane.tobytes()) for plane in scene(48, 48, 47).transpose(2, 0, 1))
    mask = np.linspace(0, 255, 48 * 48).astype(np.uint8).tobytes()
    write("planes.icns", icns(small, (b"ih32", planes), (b"h8mk", mask)))
    save("plain.tga", rgb(48, 40, 48))
    save("runs.tga", rgb(64, 48, 49).quantize(16), compression="tga_rle", orientation=-1)
    save("plain.ppm", rgb(48, 40, 50))
    # Decimal numbers up to 1000, which Pillow scales to bytes.
    levels = scene(28, 20, 51).astype(int) * 1000 // 255
    numbers = "\n".join(" ".join(map(str, row)) for row in levels.reshape(20, -1))
    write("numbers.ppm", f"P3\n# a comment\n28 20\n1000\n{numbers}\n".encode())
    save("plain.qoi", rgb(64, 48, 52))
    save("plain.pcx", rgb(48, 40, 53))
    save("palette.pcx", rgb(64, 48, 54).quantize(16))
    save("plain.sgi", rgb(48, 40, 55))
    blue_first = scene(48, 40, 56)[..., ::-1]
    write("plain.ras", sun(48, 40, 24, 1, [row.tobytes() for row in blue_first]))
    save("plain.xbm", rgb(96, 80, 57).convert("1"))
    few = rgb(64, 48, 58).quantize(12)
    colours = [b"c #%02X%02X%02X" % tuple(few.getpalette()[3 * n : 3 * n + 3]) for n in range(12)]
    keys = [b"%c" % (ord("a") + n) for n in range(12)]
    rows = [b"".join(keys[n] for n in row) for row in np.asarray(few)]
    write("plain.xpm", xpm(few.width, few.height, colours, keys, rows))
    save("plain.dds", rgb(40, 32, 59))
    save("blocks.dds", rgb(96, 80, 60).convert("RGBA"), pixel_format="DXT5")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    for file in OUT.iterdir():
        file.unlink()
    for seed, (width, height) in enumerate([(96, 96), (160, 120), (120, 160), (224, 224)]):
        save(f"plain-{seed}.png", rgb(width, height, seed), optimize=True)
    # Aspects that a crop or a border would show.
    save("wide.png", rgb(320, 60, 10), optimize=True)
    save("tall.png", rgb(50, 300, 11), optimize=True)
    # Stripes of one pixel: grey after an antialiased resize, stripes or a flat colour without.
    fine = np.zeros((900, 1200, 3), np.uint8)
    fine[:, ::2] = (255, 40, 0)
    fine[450:, 1::2] = (0, 0, 255)
    fine[:450, 1::2] = (0, 200, 0)
    fine[200:400, 300:500] = (np.indices((200, 200)).sum(0) % 2 * 255)[..., None]
    save("fine.png", Image.fromarray(fine), optimize=True)
    save("one-pixel.png", Image.new("RGB", (1, 1), (200, 30, 90)))
    save("tiny.png", rgb(7, 5, 12))
    save("baseline.jpg", rgb(160, 120, 20), quality=85)
    save("progressive.jpg", rgb(160, 120, 21), quality=85, progressive=True)
    save("full-chroma.jpg", rgb(120, 160, 22), quality=90, subsampling=0)
    save("grey.jpg", rgb(128, 96, 23).convert("L"), quality=85)
    save("grey.png", rgb(128, 96, 24).convert("L"), optimize=True)
    save("cmyk.jpg", rgb(128, 96, 25).convert("CMYK"), quality=90)
    save("palette.png", rgb(128, 96, 26).quantize(32), optimize=True)
    grey16 = np.linspace(0, 65535, 96 * 96).reshape(96, 96).astype(np.uint16)
    save("grey-16.png", Image.fromarray(grey16))
    # Opaque colours beneath transparent pixels: dropping alpha shows them, blending hides them.
    with_alpha = rgb(128, 128, 27).convert("RGBA")
    mask = np.zeros((128, 128), np.uint8)
    mask[:, 64:] = 255
    with_alpha.putalpha(Image.fromarray(mask))
    save("alpha.png", with_alpha, optimize=True)
    # A tag that asks for a quarter turn.
    exif = Image.Exif()
    exif[0x0112] = 6
    save("turned.jpg", rgb(160, 100, 28), quality=90, exif=exif)
    frames = [rgb(96, 72, seed).quantize(64) for seed in (30, 31)]
    save("animated.gif", frames[0], save_all=True, append_images=frames[1:], duration=100)
    save("lossless.webp", rgb(128, 96, 32), lossless=True)
    save("lossy.webp", rgb(128, 96, 33), quality=80)
    save("plain.bmp", rgb(48, 40, 34))
    save("deflate.tiff", rgb(96, 80, 35), compression="tiff_adobe_deflate")
    whole = encoded(rgb(96, 80, 36), "PNG")
    write("damaged.png", whole[: len(whole) // 2])
    seldom()
    print(sum(file.stat().st_size for file in OUT.iterdir()), "bytes")


if __name__ == "__main__":
    main()
