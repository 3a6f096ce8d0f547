"""Draws the sample pictures of the page: shapes that the demo model knows.

    python tools/draw_samples.py [FOLDER]      # crates/page/assets/samples

Needs Pillow. Each file is named after what it shows; `samples.json` lists them in the order in
which the page has them. Everything is seeded, so that the same files come out again.
"""

import json
import pathlib
import random
import sys

from PIL import Image

from demo_scenes import Scene, draw

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "crates" / "page" / "assets" / "samples"
WIDTH, HEIGHT = 240, 180
# Drawn larger, and made smaller with a filter: the edges are smooth then.
OVERSAMPLED = 4

# shape, colour, pattern, size, count, place, background
SCENES = {
    "a red circle": ("circle", "red", "solid", "large", "one", "center", "white"),
    "three blue stars": ("star", "blue", "solid", "large", "three", "center", "pink"),
    "a striped green square": ("square", "green", "striped", "large", "one", "left", "black"),
    "four yellow hearts": ("heart", "yellow", "solid", "large", "four", "center", "brown"),
    "a dotted purple triangle": ("triangle", "purple", "dotted", "large", "one", "center", "white"),
    "two orange rings": ("ring", "orange", "solid", "large", "two", "center", "gray"),
    "a small white cross": ("cross", "white", "solid", "small", "one", "center", "black"),
    "a black diamond": ("diamond", "black", "solid", "large", "one", "right", "cyan"),
    "two red hearts": ("heart", "red", "solid", "large", "two", "center", "pink"),
    "a blue circle": ("circle", "blue", "solid", "large", "one", "left", "gray"),
    "three green triangles": ("triangle", "green", "solid", "large", "three", "center", "white"),
    "a yellow star": ("star", "yellow", "solid", "large", "one", "center", "black"),
    "four purple squares": ("square", "purple", "solid", "large", "four", "center", "cyan"),
    "a striped orange circle": ("circle", "orange", "striped", "large", "one", "center", "brown"),
    "two white diamonds": ("diamond", "white", "solid", "large", "two", "center", "brown"),
    "a black ring": ("ring", "black", "solid", "large", "one", "center", "white"),
    "a small red star": ("star", "red", "solid", "small", "one", "top", "white"),
    "three dotted blue circles": ("circle", "blue", "dotted", "large", "three", "center", "white"),
    "a green heart": ("heart", "green", "solid", "large", "one", "center", "pink"),
    "two purple crosses": ("cross", "purple", "solid", "large", "two", "center", "white"),
    "a yellow square": ("square", "yellow", "solid", "large", "one", "bottom", "gray"),
    "four orange triangles": ("triangle", "orange", "solid", "large", "four", "center", "black"),
    "a blue diamond": ("diamond", "blue", "solid", "large", "one", "center", "white"),
    "three white rings": ("ring", "white", "solid", "large", "three", "center", "cyan"),
}


def main() -> None:
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for caption, scene in SCENES.items():
        size = (WIDTH * OVERSAMPLED, HEIGHT * OVERSAMPLED)
        picture = draw(Scene(*scene), random.Random(caption), *size)
        picture = picture.resize((WIDTH, HEIGHT), Image.LANCZOS)
        name = caption.removeprefix("a ").replace(" ", "-") + ".png"
        # Two colours and what lies between them: sixteen are enough.
        picture.quantize(16, dither=Image.Dither.NONE).save(folder / name, optimize=True)
        listed.append({"file": name, "caption": caption})
    (folder / "samples.json").write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    main()
