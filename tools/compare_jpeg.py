"""Compares the decoding of photos with Pillow's.

    python tools/compare_jpeg.py photos/*.jpg

Data flow: the files --Pillow, in this process--> median ms; the same files --the
project's `preprocess` benchmark, one thread as well--> median ms; the two in turn, and
the ratio of each file is the median over the rounds, above 1 where the project is
faster. crates/image/tests/it/decode.rs compares the pixels themselves with Pillow's.
"""

import argparse
import io
import re
import statistics
import subprocess
import time
from pathlib import Path

from PIL import Image, features

ROOT = Path(__file__).resolve().parent.parent


def pillow_ms(data: bytes) -> float:
    """The median of as many decodings as fit into about a second."""
    times: list[float] = []
    end = time.perf_counter() + 1.0
    while time.perf_counter() < end or len(times) < 5:
        begun = time.perf_counter()
        Image.open(io.BytesIO(data)).convert("RGB").load()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e3


def ours_ms(path: Path) -> float:
    """The output of the benchmark for one file."""
    command = ["cargo", "bench", "--quiet", "--bench", "preprocess", "--", str(path)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    line = printed.strip().splitlines()[-1]
    found = re.search(r"\d+ x \d+\s+([\d.]+)", line)
    if found is None:
        raise SystemExit(f"the benchmark printed no time for {path}: {line}")
    return float(found.group(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"Pillow with libjpeg-turbo {features.version_feature('libjpeg_turbo')}")
    print(f"{'photo':<24} {'pixels':>13} {'ours ms':>9} {'Pillow ms':>9} {'Pillow / ours':>13}")
    for path in args.photos:
        data = path.read_bytes()
        width, height = Image.open(io.BytesIO(data)).size
        pairs = [(ours_ms(path.resolve()), pillow_ms(data)) for _ in range(args.rounds)]
        ours, pillow = (statistics.median(column) for column in zip(*pairs))
        ratio = statistics.median(theirs / mine for mine, theirs in pairs)
        print(f"{path.name:<24} {f'{width} x {height}':>13} {ours:>9.2f} {pillow:>9.2f} {ratio:>13.2f}")


if __name__ == "__main__":
    main()
