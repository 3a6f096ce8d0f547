"""Compares the CPU engine with ONNX Runtime and PyTorch, in one run, in turn.

    python tools/make_random_checkpoint.py /tmp/siglip2-base-random
    python tools/compare_cpu.py /tmp/siglip2-base-random

For each tower and batch size every runtime runs one batch, then every runtime the
next, and so on, so that a temporary slowdown of the machine affects all of them. The
figure is the median; the ratio is the median of the paired ratios. ONNX Runtime runs
the graphs that this project writes (`cargo bench --bench engine -- --export`), and
PyTorch runs transformers' SiglipModel. The FP32 rate of a plain large matrix product
is the bound for all of them: the last column is the share of it that the engine
reaches, counting the operations that its graph needs.

All runtimes get the same number of threads. Vectors are compared too, because a fast
wrong answer is worthless.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from transformers import SiglipModel

ROOT = Path(__file__).resolve().parent.parent


class Engine:
    """The project's own engine, in its benchmark process: one batch per line."""

    name = "rten"

    def __init__(self, command: list[str], checkpoint: Path, threads: int):
        command = [*command, "--model", str(checkpoint), "--threads", str(threads), "--serve"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def milliseconds(self, tower: str, batch: int) -> float:
        self.process.stdin.write(f"{tower} {batch}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


class OnnxRuntime:
    """The project's graphs on ONNX Runtime."""

    name = "onnxruntime"

    def __init__(self, graphs: Path, inputs: dict, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.inputs = inputs
        self.sessions = {
            tower: onnxruntime.InferenceSession(
                graphs / file, options, providers=["CPUExecutionProvider"]
            )
            for tower, file in (("image", "vision.onnx"), ("text", "text.onnx"))
        }

    def run(self, tower: str, batch: int) -> np.ndarray:
        name = {"image": "pixel_values", "text": "input_ids"}[tower]
        return self.sessions[tower].run(None, {name: self.inputs[tower, batch]})[0]

    def milliseconds(self, tower: str, batch: int) -> float:
        started = time.perf_counter()
        self.run(tower, batch)
        return (time.perf_counter() - started) * 1e3


class PyTorch:
    """transformers' own model."""

    name = "pytorch"

    def __init__(self, checkpoint: Path, inputs: dict, threads: int):
        torch.set_num_threads(threads)
        self.model = SiglipModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.inputs = {key: torch.from_numpy(value) for key, value in inputs.items()}

    @torch.inference_mode()
    def run(self, tower: str, batch: int) -> np.ndarray:
        values = self.inputs[tower, batch]
        if tower == "image":
            return self.model.get_image_features(pixel_values=values).pooler_output.numpy()
        return self.model.get_text_features(input_ids=values).pooler_output.numpy()

    def milliseconds(self, tower: str, batch: int) -> float:
        started = time.perf_counter()
        self.run(tower, batch)
        return (time.perf_counter() - started) * 1e3


def operations(config: dict) -> dict[str, float]:
    """Floating-point operations of one row, products only (a multiply-add is two).

    Counted from the graphs: the text tower's last layer works on its last token
    alone once keys and values are there.
    """

    def layer(width, hidden, tokens, queries):
        projections = 2 * width * width * (2 * tokens + 2 * queries)
        attention = 2 * 2 * width * tokens * queries
        return projections + attention + 2 * 2 * width * hidden * queries

    vision, text = config["vision_config"], config["text_config"]
    width, hidden = vision["hidden_size"], vision["intermediate_size"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    image = vision["num_hidden_layers"] * layer(width, hidden, patches, patches)
    image += 2 * patches * width * 3 * vision["patch_size"] ** 2
    image += layer(width, hidden, patches, 1)
    width, hidden = text["hidden_size"], text["intermediate_size"]
    tokens = text["max_position_embeddings"]
    words = (text["num_hidden_layers"] - 1) * layer(width, hidden, tokens, tokens)
    words += layer(width, hidden, tokens, 1) + 2 * width * vision["hidden_size"]
    return {"image": image, "text": words}


class Product:
    """A large matrix product in FP32: the highest rate the machine can reach."""

    SIDE = 2048

    def __init__(self):
        self.a = torch.randn(self.SIDE, self.SIDE)
        self.b = torch.randn(self.SIDE, self.SIDE)

    def rate(self) -> float:
        """Operations per second."""
        started = time.perf_counter()
        torch.mm(self.a, self.b)
        return 2 * self.SIDE**3 / (time.perf_counter() - started)


def inputs(config: dict, batches: list[int]) -> dict:
    """Random inputs for every tower and batch size."""
    random = np.random.default_rng(0)
    vision, text = config["vision_config"], config["text_config"]
    side = vision["image_size"]
    made = {}
    for batch in batches:
        made["image", batch] = random.uniform(-1, 1, (batch, 3, side, side)).astype(np.float32)
        shape = (batch, text["max_position_embeddings"])
        made["text", batch] = random.integers(0, text["vocab_size"], shape)
    return made


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--towers", nargs="+", default=["image", "text"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--engine", help="an executable of the benchmark; by default cargo's")
    args = parser.parse_args()

    cargo = ["cargo", "bench", "--quiet", "--bench", "engine", "--"]
    command = [args.engine] if args.engine else cargo
    config = json.loads((args.checkpoint / "config.json").read_text())
    made = inputs(config, args.batches)
    with tempfile.TemporaryDirectory() as graphs:
        export = [*command, "--model", str(args.checkpoint), "--export", graphs]
        subprocess.run(export, cwd=ROOT, check=True)
        peers = [
            Engine(command, args.checkpoint, args.threads),
            OnnxRuntime(Path(graphs), made, args.threads),
            PyTorch(args.checkpoint, made, args.threads),
        ]
        for tower in args.towers:
            worst = cosine(peers[1].run(tower, 1), peers[2].run(tower, 1))
            print(f"{tower}: our graph on ONNX Runtime against transformers: cosine {worst:.9f}")
        product = Product()
        needed = operations(config)
        print(f"{args.threads} threads, ms per row, median of {args.rounds} paired rounds")
        print("tower batch     rten  onnxrt   torch  onnxrt/rten torch/rten  of the plain product")
        for tower in args.towers:
            for batch in args.batches:
                report(tower, batch, peers, product, needed[tower], args.rounds)


def report(tower, batch, peers, product, operations_per_row, rounds) -> None:
    """Runs the rounds of one row of the table and prints it."""
    for peer in peers:
        peer.milliseconds(tower, batch)
    took = {peer.name: [] for peer in peers}
    shares = []
    for _ in range(rounds):
        plain = product.rate()
        for peer in peers:
            took[peer.name].append(peer.milliseconds(tower, batch) / batch)
        reached = operations_per_row / (took["rten"][-1] * 1e-3)
        shares.append(reached / ((plain + product.rate()) / 2))
    ratio = {
        name: statistics.median(a / b for a, b in zip(took[name], took["rten"])) for name in took
    }
    median = {name: statistics.median(values) for name, values in took.items()}
    print(
        f"{tower:<5} {batch:>5} {median['rten']:>8.2f} {median['onnxruntime']:>7.2f}"
        f" {median['pytorch']:>7.2f} {ratio['onnxruntime']:>12.2f} {ratio['pytorch']:>10.2f}"
        f" {statistics.median(shares):>13.0%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
