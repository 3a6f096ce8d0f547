"""Whether searches find the same in every precision: ranks of texts against pictures.

    cargo build --release
    python tools/rank_agreement.py                       # the demo model, 1,000 by 1,000

Draws scenes that the demo model was not trained on, has `siglip2-embeddings embed` make the
vectors of pictures and captions once in each precision, and ranks all pictures for every
caption, for every pairing of the precision of the index (pictures) and of the query (texts).
What is compared is what FP32 finds with both in FP32:

    same first       captions whose first picture is the same
    of the first 10  pictures that both have among the first ten, of ten
    own first        captions that find the picture that they were made from

Equal scores are ranked by the picture's number, in all precisions alike.
"""

import argparse
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from demo_scenes import Scene, canvas, draw, scenes

ROOT = Path(__file__).resolve().parent.parent


def caption(scene: Scene) -> str:
    plural = "" if scene.count == "one" else "es" if scene.shape == "cross" else "s"
    place = "in the center" if scene.place == "center" else f"at the {scene.place}"
    return (
        f"{scene.count} {scene.size} {scene.pattern} {scene.colour} {scene.shape}{plural} "
        f"{place} on a {scene.background} background"
    )


def vectors(arguments, inputs: list[str], precision: str, out: Path, folder: str) -> np.ndarray:
    """The rows that `embed` writes, in the order of the inputs."""
    command = [arguments.binary, "embed", *inputs, "--model", arguments.model, "--out", str(out)]
    command += ["--format", "npy", "--device", "cpu", "--precision", precision, "--strict"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return np.load(out / folder / f"{folder}_0.npy").astype(np.float64)


def ranks(pictures: np.ndarray, texts: np.ndarray, count: int = 10) -> np.ndarray:
    """The best pictures of each text."""
    return np.argsort(-(texts @ pictures.T), axis=1, kind="stable")[:, :count]


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    return (rows * others).sum(axis=1) / length


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=str(ROOT / "target/release/siglip2-embeddings"))
    parser.add_argument("--model", default="demo")
    parser.add_argument("--count", type=int, default=1000, help="captions, and pictures")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.precisions[0] != "fp32":
        parser.error("--precisions begins with fp32, which the others are compared with")

    rng = random.Random(arguments.seed)
    chosen = rng.sample([scene for scene in scenes() if scene.held_out()], arguments.count)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        (scratch / "pictures").mkdir()
        for number, scene in enumerate(chosen):
            picture = draw(scene, rng, *canvas(rng))
            picture.save(scratch / "pictures" / f"{number:06}.png")
        (scratch / "captions.txt").write_text("".join(caption(scene) + "\n" for scene in chosen))
        pictures, texts = {}, {}
        for precision in arguments.precisions:
            inputs = [str(scratch / "pictures")]
            out = scratch / f"pictures-{precision}"
            pictures[precision] = vectors(arguments, inputs, precision, out, "img_emb")
            inputs = ["--texts", str(scratch / "captions.txt")]
            out = scratch / f"texts-{precision}"
            texts[precision] = vectors(arguments, inputs, precision, out, "text_emb")

    print("Cosine to FP32, the worst and the median:\n")
    print("| precision | pictures | texts |\n| --- | --- | --- |")
    for precision in arguments.precisions[1:]:
        cells = []
        for rows in (pictures, texts):
            found = cosines(rows[precision], rows["fp32"])
            cells.append(f"{found.min():.6f}, {np.median(found):.6f}")
        print(f"| {precision} | {cells[0]} | {cells[1]} |")

    truth = ranks(pictures["fp32"], texts["fp32"])
    print("\n| index | query | same first | of the first 10 | own first |")
    print("| --- | --- | --- | --- | --- |")
    for index in arguments.precisions:
        for query in arguments.precisions:
            found = ranks(pictures[index], texts[query])
            first = (found[:, 0] == truth[:, 0]).mean()
            common = [len(set(a) & set(b)) for a, b in zip(found, truth)]
            own = (found[:, 0] == np.arange(len(found))).mean()
            print(
                f"| {index} | {query} | {first:.1%} | {np.mean(common):.2f} | {own:.1%} |"
            )


if __name__ == "__main__":
    main()
