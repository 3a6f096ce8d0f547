"""The pictures that the demo model knows: coloured shapes, drawn from a description."""

import hashlib
import itertools
import math
import random
from dataclasses import astuple, dataclass, fields

from PIL import Image, ImageDraw

COLOURS = {
    "red": (214, 40, 40),
    "green": (42, 157, 63),
    "blue": (38, 84, 214),
    "yellow": (247, 216, 28),
    "orange": (245, 130, 20),
    "purple": (130, 40, 170),
    "black": (16, 16, 16),
    "white": (248, 248, 248),
}
BACKGROUNDS = {
    "white": (250, 250, 250),
    "black": (12, 12, 12),
    "gray": (140, 140, 140),
    "pink": (255, 182, 203),
    "brown": (110, 68, 34),
    "cyan": (90, 220, 225),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")
PATTERNS = ("solid", "striped", "dotted")
SIZES = ("small", "large")
COUNTS = ("one", "two", "three", "four")
PLACES = ("center", "left", "right", "top", "bottom")

# Where the members of a group stand, in units of its radius.
GROUPS = {
    "one": [(0, 0)],
    "two": [(-0.5, 0), (0.5, 0)],
    "three": [(0, -0.48), (-0.5, 0.42), (0.5, 0.42)],
    "four": [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)],
}
OFFSETS = {"center": (0, 0), "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}


@dataclass(frozen=True)
class Scene:
    """The content of a picture; every field is a word of its caption."""

    shape: str
    colour: str
    pattern: str
    size: str
    count: str
    place: str
    background: str

    def held_out(self) -> bool:
        """Whether it is excluded from training: a tenth of all scenes, by a hash."""
        digest = hashlib.sha256("|".join(astuple(self)).encode()).digest()
        return digest[0] % 10 == 0


ATTRIBUTES = tuple(field.name for field in fields(Scene))
VALUES = (SHAPES, tuple(COLOURS), PATTERNS, SIZES, COUNTS, PLACES, tuple(BACKGROUNDS))


def scenes() -> list[Scene]:
    """Every scene in which the shapes can be told apart from the background."""
    every = (Scene(*values) for values in itertools.product(*VALUES))
    return [scene for scene in every if scene.colour != scene.background]


def outline(shape: str, x: float, y: float, r: float, turn: float) -> list[tuple[float, float]]:
    """The corners of a shape of radius `r` around a point."""

    def polar(angle: float, radius: float) -> tuple[float, float]:
        angle += turn
        return x + radius * math.cos(angle), y + radius * math.sin(angle)

    up = -math.pi / 2
    if shape in ("circle", "ring"):
        return [polar(2 * math.pi * i / 40, r * 0.95) for i in range(40)]
    if shape == "square":
        return [polar(math.pi / 4 + math.pi / 2 * i, r * 1.2) for i in range(4)]
    if shape == "diamond":
        return [polar(up + math.pi / 2 * i, r * (1.15, 0.7)[i % 2]) for i in range(4)]
    if shape == "triangle":
        return [polar(up + 2 * math.pi / 3 * i, r * 1.15) for i in range(3)]
    if shape == "star":
        return [polar(up + math.pi / 5 * i, r * (1.15, 0.48)[i % 2]) for i in range(10)]
    if shape == "cross":
        arm, half = r * 1.05, r * 0.34
        corners = [(-half, -arm), (half, -arm), (half, -half), (arm, -half), (arm, half)]
        corners += [(half, half), (half, arm), (-half, arm), (-half, half), (-arm, half)]
        corners += [(-arm, -half), (-half, -half)]
    else:  # heart
        corners = []
        for i in range(40):
            t = 2 * math.pi * i / 40
            dx = 16 * math.sin(t) ** 3
            dy = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
            corners.append((r * dx / 15.5, -r * dy / 15.5))
    cos, sin = math.cos(turn), math.sin(turn)
    return [(x + dx * cos - dy * sin, y + dx * sin + dy * cos) for dx, dy in corners]


def texture(pattern: str, width: int, height: int, x: float, y: float, r: float) -> Image.Image:
    """Where a patterned shape shows its colour; elsewhere it lets the background through."""
    mask = Image.new("L", (width, height), 255 if pattern == "solid" else 0)
    draw = ImageDraw.Draw(mask)
    if pattern == "striped":
        step = r * 0.62
        for i in range(-3, 4):
            middle = y + i * step
            draw.rectangle([x - 2 * r, middle - step * 0.29, x + 2 * r, middle + step * 0.29], 255)
    elif pattern == "dotted":
        step = r * 0.58
        for i, j in itertools.product(range(-3, 4), repeat=2):
            cx, cy, dot = x + i * step, y + j * step, step * 0.34
            draw.ellipse([cx - dot, cy - dot, cx + dot, cy + dot], 255)
    return mask


def draw(scene: Scene, rng: random.Random, width: int, height: int) -> Image.Image:
    """One picture of a scene; `rng` decides what its caption does not say."""

    def vary(colour: tuple[int, int, int]) -> tuple[int, int, int]:
        return tuple(max(0, min(255, value + rng.randint(-12, 12))) for value in colour)

    picture = Image.new("RGB", (width, height), vary(BACKGROUNDS[scene.background]))
    colour = vary(COLOURS[scene.colour])
    unit = min(width, height) / 64
    group = 19 * unit
    dx, dy = OFFSETS[scene.place]
    x = width / 2 + dx * (width / 2 - group - 1.5 * unit) + rng.uniform(-1.5, 1.5) * unit
    y = height / 2 + dy * (height / 2 - group - 1.5 * unit) + rng.uniform(-1.5, 1.5) * unit
    alone = scene.count == "one"
    radius = {"small": 8.0 if alone else 5.0, "large": 15.0 if alone else 8.6}[scene.size]
    radius *= unit * rng.uniform(0.92, 1.05)
    turn = rng.uniform(-0.12, 0.12)
    for gx, gy in GROUPS[scene.count]:
        cx = x + gx * group + rng.uniform(-0.6, 0.6) * unit
        cy = y + gy * group + rng.uniform(-0.6, 0.6) * unit
        mask = Image.new("L", (width, height))
        pen = ImageDraw.Draw(mask)
        pen.polygon(outline(scene.shape, cx, cy, radius, turn), 255)
        if scene.shape == "ring":
            hole = radius * 0.5
            pen.ellipse([cx - hole, cy - hole, cx + hole, cy + hole], 0)
        pattern = texture(scene.pattern, width, height, cx, cy, radius)
        if scene.pattern != "solid":
            # A thin rim, so that the shape is visible with any pattern.
            corners = outline(scene.shape, cx, cy, radius, turn)
            rim = max(1, round(radius * 0.14))
            ImageDraw.Draw(pattern).line(corners + corners[:2], 255, rim * 2)
            if scene.shape == "ring":
                pen_rim = ImageDraw.Draw(pattern)
                pen_rim.ellipse([cx - hole, cy - hole, cx + hole, cy + hole], None, 255, rim)
        picture.paste(colour, mask=Image.composite(pattern, Image.new("L", mask.size), mask))
    return picture


def canvas(rng: random.Random) -> tuple[int, int]:
    """The size of a picture: small to medium, seldom square."""
    height = rng.choice((64, 64, 96, 128, 160))
    return round(height * rng.uniform(0.8, 1.45)), height
