"""How many cores, nodes, GPUs and what network a number of photos a day wants.

    python tools/size_cluster.py --photos-per-day 20M --photo large
    python tools/size_cluster.py --photos-per-day 2M --queries-per-second 50 --peak 3
    python tools/size_cluster.py --table          the tables of docs/scaling.md

The rates are measured ones, for siglip2-base's shape. Those of CPUs are read from the newest table
of docs/performance.md, the others are quoted from it, and `--table` fails where it no longer says so.
Needs only Python.
"""

import argparse
import math
import pathlib
from dataclasses import dataclass

DOCUMENT = pathlib.Path(__file__).resolve().parents[1] / "docs/performance.md"


@dataclass(frozen=True)
class Rate:
    """Rows per second of `cores` cores, or of one GPU."""

    rows: float
    cores: int
    quote: str

    @property
    def of_a_core(self):
        return self.rows / self.cores


@dataclass(frozen=True)
class Photo:
    """A kind of photo: its file, and how fast the service takes it apart from the engine."""

    name: str
    size: int
    front: Rate


# Decoding, hashing, HTTP: everything but the engine.
SMALL = Photo(
    "small",
    12_000,
    Rate(2822, 1, "| one 224-pixel photo | 4952 | 0.354 | 2822 |"),
)
LARGE = Photo(
    "large",
    350_000,
    # Of the two machines the slower rate for each core.
    Rate(686, 16, "| 1920 x 1280 JPEGs, one per request | 64 | 686 | 93.4, 115.6 |"),
)
PHOTOS = {photo.name: photo for photo in (SMALL, LARGE)}



def peers():
    """The rows of the newest table beside peers, each by the names of its columns."""
    _, found, text = DOCUMENT.read_text().partition("### Against peers\n")
    lines = [line for line in text.split("\n### ")[0].split("\n") if line.startswith("| ")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if not found or not table:
        raise SystemExit("docs/performance.md has no table under `Against peers`")
    return [(dict(zip(table[0], row)), line) for row, line in zip(table[2:], lines[2:])]


def of_two(column):
    """The rates of the engine alone on two cores for images and texts, in batches of 8."""
    rates = []
    for tower in ("image", "text"):
        row = next((row for row in peers() if (row[0]["tower"], row[0]["batch"]) == (tower, "8")), None)
        if row is None or column not in row[0]:
            raise SystemExit(f"docs/performance.md has no `{column}` of {tower}s in batches of 8")
        rates.append(Rate(1000 / float(row[0][column]), 2, row[1]))
    return tuple(rates)


CPUS = {
    "BF16 (AVX512-BF16)": of_two("BF16, ms"),
    "FP32 (AVX-512)": of_two("FP32, ms"),
    "FP32 (AVX2)": of_two("AVX2 forced, ms"),
}
# Not measured: what the engines are meant to reach.
GOALS = {
    "RTX 5090": Rate(
        4600, 1, "| RTX 5090, FP16 | 209.5 | 5,900 | 4,393 (timm, torch.compile) | 4,600 |"
    ),
    "H200": Rate(
        14_000, 1, "| H200, FP16 | 989 | 27,900 | 10,483 (torch.compile, batch 256; below) | 14,000 |"
    ),
}


def amount(text):
    """A number with an ending for thousands, millions or billions."""
    scale = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:], 1)
    number = float(text.rstrip("kMG")) * scale
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no amount")
    return number


def up(number):
    """A number of things, of which there are only whole ones."""
    return math.ceil(number - 1e-9)


@dataclass(frozen=True)
class Demand:
    """What comes in, at the hour in which most comes."""

    photos: float  # per second
    queries: float  # per second
    photo: Photo
    use: float  # of what a machine could do
    node_cores: int

    @property
    def gigabits(self):
        return self.photos * self.photo.size * 8 / 1e9

    @property
    def decode_cores(self):
        return up(self.photos / self.photo.front.of_a_core / self.use)

    def cpu_nodes(self, kind):
        """Nodes that decode and compute on the same cores."""
        image, text = CPUS[kind]
        # The same cores decode, and answer; a text is answered as fast as a small photo.
        photo = 1 / image.of_a_core + 1 / self.photo.front.of_a_core
        query = 1 / text.of_a_core + 1 / SMALL.front.of_a_core
        cores = self.photos * photo + self.queries * query
        return up(cores / self.use / self.node_cores)

    def gpu_nodes(self, kind):
        """Nodes with one GPU: as many as the GPUs or the cores that decode for them want."""
        # A text is a third of an image's work (11.0 of 35.4 GFLOP).
        gpus = up((self.photos + self.queries * 11.0 / 35.4) / GOALS[kind].rows / self.use)
        return max(gpus, up(self.decode_cores / self.node_cores))


def report(demand):
    yield f"{demand.photos:,.1f} photos and {demand.queries:,.1f} queries per second at the peak"
    yield f"network to the services: {demand.gigabits:.2f} Gbit/s of pictures"
    yield f"cores that decode, on nodes with GPUs: {demand.decode_cores}"
    for kind in CPUS:
        yield f"nodes of {demand.node_cores} cores, {kind}: {demand.cpu_nodes(kind)}"
    for kind in GOALS:
        yield (
            f"nodes of {demand.node_cores} cores and a {kind}, if it reaches its goal: "
            f"{demand.gpu_nodes(kind)}"
        )


def table():
    check()
    heads = ["photos a day", "per second", "Gbit/s", "decode cores", "nodes, BF16", "nodes, FP32"]
    heads += [f"nodes, {kind}" for kind in GOALS]
    for photo, words in ((LARGE, "1920 x 1280, 350 KB"), (SMALL, "224 pixels, 12 KB")):
        yield f"Photos of {words}:"
        yield ""
        yield "| " + " | ".join(heads) + " |"
        yield "|" + " --- |" * len(heads)
        for day in (1e6, 10e6, 100e6, 1e9):
            demand = Demand(day / 86_400, 0, photo, 0.7, 16)
            cells = [f"{day / 1e6:,.0f} million", f"{demand.photos:,.0f}"]
            cells += [f"{demand.gigabits:.2f}", f"{demand.decode_cores:,}"]
            cells += [f"{demand.cpu_nodes(kind):,}" for kind in list(CPUS)[:2]]
            cells += [f"{demand.gpu_nodes(kind):,}" for kind in GOALS]
            yield "| " + " | ".join(cells) + " |"
        yield ""
    goals = " and ".join(f"{goal.rows:,} images per second on an {kind}" for kind, goal in GOALS.items())
    yield (
        f"The columns for GPUs take the **goals** of the engine ({goals}), which have not been measured "
        "on a card. Everything around the engine has been."
    )


def check():
    """Ends where a rate is not in the document any more."""
    text = DOCUMENT.read_text()
    rates = [photo.front for photo in PHOTOS.values()] + list(GOALS.values())
    rates += [rate for pair in CPUS.values() for rate in pair]
    for rate in rates:
        if rate.quote not in text:
            raise SystemExit(f"docs/performance.md no longer says: {rate.quote}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos-per-day", type=amount, default=1e6)
    parser.add_argument("--queries-per-second", type=amount, default=0, help="texts, at the peak")
    parser.add_argument("--photo", choices=PHOTOS, default="large", help="1920 x 1280 or 224 pixels")
    parser.add_argument("--peak", type=float, default=1, help="the peak's share of the average")
    parser.add_argument("--use", type=float, default=0.7, help="how busy machines may be, 0 to 1")
    parser.add_argument("--node-cores", type=int, default=16)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not 0 < options.use <= 1 or options.peak < 1 or options.node_cores < 1:
        parser.error("--use is in 0 to 1, --peak and --node-cores are at least 1")
    if options.table:
        lines = table()
    else:
        photos = options.photos_per_day / 86_400 * options.peak
        photo = PHOTOS[options.photo]
        demand = Demand(photos, options.queries_per_second, photo, options.use, options.node_cores)
        # 768 floats for each photo.
        stored = f"vectors of a day: {options.photos_per_day * 768 * 4 / 1e9:,.1f} GB as float32"
        lines = [*report(demand), stored]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
