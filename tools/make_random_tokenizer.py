"""Writes a tokenizer of the size of SigLIP 2's, with drawn words for tokens.

The real one (Gemma's: 256,000 tokens, about 580,000 merges, 34 MB) cannot be downloaded
where only package registries can be reached. How long a tokenizer takes to load, and what
memory it keeps, depends on its size; the demo model's has 540 tokens.

    python tools/make_random_tokenizer.py DIRECTORY

Data flow: drawn syllables -> words that share their beginnings -> tokens; every way to put a
token together from two others -> a merge, as conversions from SentencePiece list them. All
else is the demo model's tokenizer.json.
"""

import argparse
import json
import random
import shutil
from pathlib import Path

DEMO = Path(__file__).resolve().parent.parent / "models" / "demo"

# Letters of a few scripts, so that tokens have one to three bytes a character.
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "".join(map(chr, range(0x430, 0x450))),
    "".join(map(chr, range(0x3B1, 0x3CA))),
    "".join(map(chr, range(0xE0, 0xF7))),
    "".join(map(chr, range(0x3042, 0x3090))),
    "".join(map(chr, range(0x4E00, 0x4F00))),
)
# As common as in a vocabulary that is mostly Latin.
WEIGHTS = (60, 12, 4, 8, 6, 10)


def tokens(base: list[str], count: int, draw: random.Random) -> list[str]:
    """`count` tokens, shorter before longer ones that contain them."""
    known = dict.fromkeys(base)
    for letters in ("▁", *ALPHABETS):
        known.update(dict.fromkeys(letters))
    # Each script's tokens so far. A new one is two of them, mostly early ones, as frequent pieces are:
    # these exponents give as many merges and bytes as Gemma's has.
    scripts = [list(letters) + ["▁" + letter for letter in letters] for letters in ALPHABETS]
    for script in scripts:
        known.update(dict.fromkeys(script))
    while len(known) < count:
        script = draw.choices(scripts, WEIGHTS)[0]
        left = script[int(len(script) * draw.random() ** 6)]
        right = script[int(len(script) * draw.random() ** 10)]
        token = left + right.replace("▁", "")
        if len(token) <= 14 and token not in known:
            known[token] = None
            script.append(token)
    return list(known)[:count]


def merges(vocabulary: dict[str, int]) -> list[list[str]]:
    """Every way to put a token together from two others, in the order of the tokens."""
    found = []
    for token in vocabulary:
        # Not those that stand for bytes, nor special ones.
        if token.startswith("<"):
            continue
        for at in range(1, len(token)):
            left, right = token[:at], token[at:]
            if left in vocabulary and right in vocabulary:
                found.append([left, right])
    return found


def write(directory: Path, count: int = 256_000, seed: int = 0) -> tuple[int, int]:
    """Writes both files; how many tokens and merges there are."""
    tokenizer = json.loads((DEMO / "tokenizer.json").read_text())
    model = tokenizer["model"]
    # The demo's tokens that are no merges: special ones, bytes, single characters.
    base = [token for token in model["vocab"] if token.startswith("<") or len(token) == 1]
    names = tokens(base, count, random.Random(seed))
    model["vocab"] = {token: at for at, token in enumerate(names)}
    model["merges"] = merges(model["vocab"])
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(tokenizer, ensure_ascii=False, indent=2)
    (directory / "tokenizer.json").write_text(text)
    shutil.copy(DEMO / "tokenizer_config.json", directory / "tokenizer_config.json")
    return len(names), len(model["merges"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--tokens", type=int, default=256_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    count, pairs = write(args.directory, args.tokens, args.seed)
    size = (args.directory / "tokenizer.json").stat().st_size
    print(f"{args.directory}: {count:,} tokens, {pairs:,} merges, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
