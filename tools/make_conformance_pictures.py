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
    whole = BytesIO()
    rgb(96, 80, 36).save(whole, "PNG")
    (OUT / "damaged.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    print(sum(file.stat().st_size for file in OUT.iterdir()), "bytes")


if __name__ == "__main__":
    main()
