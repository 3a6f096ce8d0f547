"""Counts the strings whose token ids are those of transformers, over all tokenizers of
tests/fixtures/tokenizers and a drawn one of the size of SigLIP 2's.

    python tools/compare_tokens.py            # 3,000 strings for each: 24,000 in all

Strings are drawn from words, scripts, spaces, special tokens and any characters of Unicode.
Data flow: seed -> strings, transformers -> ids in files -> the ignored test of
crates/model/tests/it/text_tokens.rs, which prints the counts.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

from make_random_tokenizer import write as write_large
from make_tokenizer_fixtures import ADDED, MAX, OUT, RUNS, SENTENCES, unigram

ROOT = Path(__file__).resolve().parent.parent
WORDS = " ".join(SENTENCES).split()
GLUE = ["", " ", "  ", "   ", "\n", "\t", "\u00a0", "\u3000", "\u200b", ".", ", ", "-", "▁", "\r\n"]
RANGES = [
    (0x20, 0x7F), (0x80, 0x2FF), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF),
    (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x30FF),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFE00, 0xFEFF), (0xFF00, 0xFFEF),
    (0x1F000, 0x1FAFF), (0x1, 0x1F), (0xE0000, 0xE007F),
]


def piece(draw: random.Random, words: list[str]) -> str:
    kind = draw.random()
    if kind < 0.45:
        word = draw.choice(words)
        return draw.choice([word, word.upper(), word.lower(), word[: draw.randint(1, 4)]])
    if kind < 0.55:
        return draw.choice(ADDED + RUNS + ["</s>", "<unk>", "<s>", "<EOS>"])
    low, high = draw.choice(RANGES)
    return "".join(chr(draw.randint(low, high)) for _ in range(draw.randint(1, 6)))


def strings(count: int, seed: int, words: list[str]) -> list[str]:
    draw = random.Random(seed)
    out = []
    for _ in range(count):
        pieces = (piece(draw, words) + draw.choice(GLUE) for _ in range(draw.randint(0, 30)))
        out.append(draw.choice(GLUE) + "".join(pieces))
    return out


def source(name: str, folder: Path) -> Path:
    """Where transformers reads a tokenizer: that of SigLIP 1 wants spiece.model, of which the
    fixture has only what it was converted to."""
    if name != "siglip1":
        return OUT / name
    directory = folder / "source"
    directory.mkdir()
    (directory / "spiece.model").write_bytes(unigram("identity").getvalue())
    for file in ("config.json", "tokenizer_config.json"):
        (directory / file).write_bytes((OUT / name / file).read_bytes())
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        folder, other = Path(folder), Path(other)
        names = sorted(path.name for path in OUT.iterdir() if path.is_dir())
        large = other / "large"
        write_large(large)
        shutil.copy(OUT / "siglip2" / "config.json", large)
        for index, name in enumerate([*names, large.name]):
            at = source(name, other) if name in names else large
            tokenizer = AutoTokenizer.from_pretrained(at)
            words = WORDS if name in names else [
                token.replace("▁", " ") for token in sorted(tokenizer.get_vocab())
            ]
            texts = strings(args.count, args.seed + index, words)
            ids = [
                tokenizer(text, padding="max_length", max_length=MAX, truncation=True)["input_ids"]
                for text in texts
            ]
            truth = {"directory": str(OUT / name if name in names else large)}
            truth |= {"texts": texts, "ids": ids}
            (folder / f"{name}.json").write_text(json.dumps(truth))
        subprocess.run(
            ["cargo", "test", "-p", "siglip2-model", "--test", "it", "--",
             "--ignored", "--nocapture", "--exact", "text_tokens::many_strings"],
            cwd=ROOT, check=True, env=os.environ | {"TOKEN_TRUTH": str(folder)},
        )


if __name__ == "__main__":
    main()
