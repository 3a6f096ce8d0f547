"""Writes tests/fixtures/reduced.json: what Pillow's `Image.draft` makes of the JPEG fixtures at 1/2, 1/4
and 1/8 of their size, as SHA-256 of their RGB pixels.

    pip install Pillow==13.0.0
    python tools/make_reduced_fixtures.py
"""

import hashlib
import json
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    files = sorted((ROOT / "tests/fixtures/images").glob("jpeg_*.jpg"))
    files.append(ROOT / "crates/image/tests/fixtures/restarts.jpg")
    found = []
    for file in files:
        for by in [2, 4, 8]:
            try:
                image = Image.open(file)
            except OSError:  # No JPEG for Pillow.
                continue
            width, height = image.size
            if min(width, height) < 2 * by:
                continue
            image.draft(None, (width // by, height // by))
            # Smaller than asked for where the sides are short: then it is another reduction.
            if image.size != (-(-width // by), -(-height // by)):
                continue
            try:
                pixels = image.convert("RGB").tobytes()
            except OSError:  # It is damaged.
                continue
            found.append(
                {
                    "file": str(file.relative_to(ROOT)),
                    "by": by,
                    "size": image.size,
                    "sha256": hashlib.sha256(pixels).hexdigest(),
                }
            )
    lines = ",\n".join(json.dumps(one) for one in found)
    (ROOT / "tests/fixtures/reduced.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(found)} reductions of {len(files)} files")


if __name__ == "__main__":
    main()
