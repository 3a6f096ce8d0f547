"""Measures what FP8 costs: the vectors, the ranks, and what large activations do to it.

    python tools/emulate_fp8.py models/demo                           # vectors and ranks
    python tools/emulate_fp8.py models/demo --amplify --images 2      # large activations
    python tools/emulate_fp8.py /path/to/checkpoint --amplify --images 2

Runs the project's own graphs operator by operator, as tools/emulate_fp16.py does, with
`QuantizeLinear` rounding to E4M3 and clamping to its range. Sums are FP32, as on tensor
cores. No GPU is needed. The figures go to docs/precision.md.

    without flags  scenes that the demo model was not trained on, as tools/rank_agreement.py
                   draws them: the scales come from other scenes, by the CPU engine
    --amplify      one kind of activation is made larger and larger; once the scales were
                   measured with it, once before it was there, so that it is clamped
"""

import argparse
import random
import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoProcessor

from demo_scenes import canvas, draw, scenes
from emulate_fp16 import (
    NEURON, Graph, Policy, export, magnitude, marked, planted, reference, run, table, verdict,
    cosine,
)
from rank_agreement import caption, cosines, ranks

# Pictures and captions that scales are measured with.
CALIBRATION = 64
VARIANTS = {"fp8": [], "fp8, attention too": ["--fp8-attention"]}


def samples(directory: Path, rng: random.Random) -> list[str]:
    """Scenes of the kind that the demo model was trained on, for the scales, as flags."""
    chosen = rng.sample([scene for scene in scenes() if not scene.held_out()], CALIBRATION)
    (directory / "pictures").mkdir()
    for number, scene in enumerate(chosen):
        draw(scene, rng, *canvas(rng)).save(directory / "pictures" / f"{number:04}.png")
    texts = directory / "captions.txt"
    texts.write_text("".join(caption(scene) + "\n" for scene in chosen))
    return ["--calibrate", str(directory / "pictures"), "--calibrate-texts", str(texts)]


def power_of_two(scale: torch.Tensor) -> torch.Tensor:
    """As the graphs have scales: the next power of two, of those of FP16."""
    return torch.exp2(torch.log2(scale).ceil().clamp(-24, 15))


def in_batches(graph: Graph, policy: Policy, inputs: torch.Tensor) -> np.ndarray:
    rows = [run(graph, policy, part, {})[0] for part in inputs.split(100)]
    return torch.cat(rows).double().numpy()


def vectors_and_ranks(checkpoint: Path, graphs: dict, count: int, rng: random.Random) -> None:
    chosen = rng.sample([scene for scene in scenes() if scene.held_out()], count)
    processor = AutoProcessor.from_pretrained(checkpoint)
    pictures = [draw(scene, rng, *canvas(rng)) for scene in chosen]
    pixels = processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
    ids = processor.tokenizer(
        [caption(scene) for scene in chosen],
        padding="max_length", max_length=64, truncation=True, return_tensors="pt",
    )["input_ids"]
    inputs = {"image": pixels, "text": ids}
    found = {
        name: {
            tower: in_batches(graphs[tower][name], Policy(name, name), inputs[tower])
            for tower in inputs
        }
        for name in ("fp32", "fp16", *VARIANTS)
    }
    rows = []
    for name in ("fp16", *VARIANTS):
        row = [name]
        for tower in inputs:
            cosine = cosines(found[name][tower], found["fp32"][tower])
            row.append(f"{cosine.min():.6f}, {np.median(cosine):.6f}")
        rows.append(row)
    table("Cosine to FP32, the worst and the median", ["", "pictures", "texts"], rows)

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    truth = ranks(unit(found["fp32"]["image"]), unit(found["fp32"]["text"]))
    rows = []
    for index, query in (
        ("fp32", "fp32"), ("fp16", "fp16"), ("fp8", "fp32"), ("fp8", "fp16"), ("fp8", "fp8"),
        ("fp32", "fp8"), ("fp8, attention too", "fp16"),
        ("fp8, attention too", "fp8, attention too"),
    ):
        order = ranks(unit(found[index]["image"]), unit(found[query]["text"]))
        common = [len(set(a) & set(b)) for a, b in zip(order, truth)]
        rows.append([
            index, query,
            f"{(order[:, 0] == truth[:, 0]).mean():.1%}",
            f"{np.mean(common):.2f}",
            f"{(order[:, 0] == np.arange(len(order))).mean():.1%}",
        ])
    head = ["index", "query", "same first", "of the first 10", "own first"]
    table(f"{count} captions rank {count} pictures", head, rows)


def largest(graph: Graph, inputs: torch.Tensor, changed: dict, names: list[str]) -> dict:
    """The largest magnitudes of the activations that the FP8 graph of the same tower rounds:
    what the CPU engine measures."""
    # Where each is in the graph in FP32.
    made_by = {}
    for name in names:
        layer, _, part = name.rpartition(".self_attn.")
        made_by[name] = {
            "qkv": f"{layer}.layer_norm1", "out_proj": f"{layer}.self_attn.merge",
            "q": f"{layer}.self_attn.q_scaled", "k": f"{layer}.self_attn.k_proj",
            "v": f"{layer}.self_attn.v_proj", "softmax": f"{layer}.self_attn.softmax",
        }.get(part) or name.replace(".mlp.fc1", ".layer_norm2").replace(".mlp.fc2", ".mlp.gelu")
    seen: dict[str, torch.Tensor] = {}

    def watch(node: str, value: torch.Tensor) -> None:
        seen[node] = value.abs().max()

    run(graph, Policy("fp32", "fp32"), inputs, changed, watch)
    return {name: seen[node] for name, node in made_by.items()}


def scaled(graphs: dict, name: str, sizes: dict, changed: dict) -> dict:
    """`changed`, and the scales that such weights and activations of these sizes have."""
    scales = {f"{of}.fp8.scale": power_of_two(2 * size / 448) for of, size in sizes.items()}
    for weight in graphs[name].constants:
        if found := re.fullmatch(r"(.*)\.weight\.fp8\.scale", weight):
            parts = [found[1]]
            if found[1].endswith(".qkv"):
                parts = [found[1].removesuffix("qkv") + f"{part}_proj" for part in "qkv"]
            tables = [(graphs[name].constants | changed)[f"{part}.weight"] for part in parts]
            scales[weight] = power_of_two(torch.cat(tables).abs().amax(1) / 448)
    return changed | scales


def clamped(graph: Graph, policy: Policy, inputs: torch.Tensor, changed: dict) -> tuple:
    """The rows, and how many numbers of activations were outside FP8's range."""
    count = 0

    def watch(node: str, value: torch.Tensor) -> None:
        nonlocal count
        if node.endswith(".fp8.quantize") and ".weight." not in node:
            count += int((value.abs() > 464).sum())

    out, _ = run(graph, policy, inputs, changed, watch)
    return out, count


def amplify(graphs: dict, pixels: torch.Tensor) -> None:
    towers = graphs["image"]
    plain = towers["fp32"]
    rounded = [
        name.removesuffix(".fp8.scale")
        for name in towers["fp8"].constants
        if name.endswith(".fp8.scale") and ".weight." not in name
    ]
    before = largest(plain, pixels, {}, rounded)
    for title, make in (
        ("A large position embedding: one channel of one token",
         lambda size: marked(plain, size)),
        ("A neuron that writes a massive activation: layer 1, one channel, one token in a hundred",
         lambda size: planted(plain, pixels, 1, size)),
        ("The same neuron, and a weight behind it that is as large: what GELU gives is `size`",
         lambda size: loud(plain, pixels, 1, size)),
    ):
        rows = []
        for size in (1e2, 1e3, 1e4, 6e4):
            changed = make(size)
            truth, _ = run(plain, Policy("fp32", "fp32"), pixels, changed)
            half, _ = run(towers["fp16"], Policy("fp16", "fp16"), pixels, changed)
            row = [magnitude(size), verdict(cosine(half, truth))]
            after = largest(plain, pixels, changed, rounded)
            row.append(f"{max(float(size) for size in after.values()):.0f}")
            for sizes in (after, before):
                weights = scaled(towers, "fp8", sizes, changed)
                out, count = clamped(towers["fp8"], Policy("fp8", "fp8"), pixels, weights)
                row.append(f"{cosine(out, truth):.4f}; {count}")
            rows.append(row)
        head = ["size", "fp16", "largest that enters a product",
                "fp8, scales measured with it; clamped", "fp8, scales measured before; clamped"]
        table(title, head, rows)


def loud(graph: Graph, inputs: torch.Tensor, layer: int, size: float) -> dict:
    """Weights with a neuron that itself becomes as large as `size`, and writes an ordinary
    number: what enters the second product of the feed-forward network is large."""
    changed = planted(graph, inputs, layer, 1.0)
    name = f"vision_model.encoder.layers.{layer}.mlp"
    for part in ("fc1.weight", "fc1.bias"):
        changed[f"{name}.{part}"][0] *= size / NEURON
    changed[f"{name}.fc2.weight"][:, 0] *= NEURON / size
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--amplify", action="store_true")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--count", type=int, default=1000, help="captions, and pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exporter", help="the benchmark `engine`, if it is built already")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        flags = ["--precision", "fp8", *samples(directory, random.Random(args.seed + 1))]
        variants = {name: [*flags, *more] for name, more in VARIANTS.items()}
        graphs = export(args.checkpoint, directory / "graphs", variants, args.exporter)
        if args.amplify:
            inputs, _ = reference(args.checkpoint, args.images)
            amplify(graphs, inputs["image"])
        else:
            vectors_and_ranks(args.checkpoint, graphs, args.count, rng)


if __name__ == "__main__":
    main()
