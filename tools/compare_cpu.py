"""The CPU engine against ONNX Runtime, OpenVINO and PyTorch, in one run, in turn.

    python tools/make_random_checkpoint.py /tmp/siglip2-base-random
    python tools/compare_cpu.py /tmp/siglip2-base-random

For each tower and batch size every runtime runs one batch, then every runtime the
next, and so on: what slows the machine for a while slows all of them. Before each run
there is a pause, since the threads of most runtimes spin for some milliseconds after
their work, and would take the cores of whoever comes next. The figure is
the median; the ratio is the median of the paired ratios. ONNX Runtime and OpenVINO run
the very graphs that this project writes (`cargo bench --bench engine -- --export`),
PyTorch runs transformers' SiglipModel; peers that are not installed are left out.
`--kernel` forces a kernel (avx2 for instance; `--isa AVX2` holds OpenVINO to it),
`--bf16` asks OpenVINO for BF16, and `--beside NAME=EXECUTABLE` adds the benchmark of
another build. Beside them stands the FP32 rate of a plain large
matrix product, which is what any of them could reach, and the rate of the kernel's own
instruction without any memory: the last columns are the parts of them that the engine
reaches, counting the operations that its graph needs.

All runtimes get the same number of threads. Vectors of one known image and text are
compared too, this engine's and all peers', because a fast wrong answer is worthless.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

try:
    import openvino
except ImportError:
    openvino = None
try:
    import torch
    from transformers import SiglipModel
except ImportError:
    torch = None

# The input whose vectors are compared.
KNOWN = "known"
ROOT = Path(__file__).resolve().parent.parent


class Engine:
    """The project's own engine, in its benchmark process: one batch per line."""

    def __init__(self, name: str, command: list[str], checkpoint: Path, threads: int):
        self.name = name
        command = [*command, "--model", str(checkpoint), "--threads", str(threads), "--serve"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, line: str):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def milliseconds(self, tower: str, batch: int) -> float:
        return self.ask(f"{tower} {batch}")

    def run(self, tower: str, _: str) -> np.ndarray:
        """The vector of the known input."""
        return np.array([self.ask(f"vector {tower} 0")])

    def peak(self) -> float | None:
        """Operations per second of the kernel's own instruction, where it has one."""
        peak = self.ask("peak")
        return peak and peak["per_second"]


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


class OpenVino:
    """The project's graphs on OpenVINO."""

    name = "openvino"

    def __init__(self, graphs: Path, inputs: dict, threads: int, precision: str):
        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": precision,
        }
        self.inputs = inputs
        self.requests = {
            tower: core.compile_model(str(graphs / file), "CPU", settings).create_infer_request()
            for tower, file in (("image", "vision.onnx"), ("text", "text.onnx"))
        }

    def run(self, tower: str, batch: int) -> np.ndarray:
        return next(iter(self.requests[tower].infer([self.inputs[tower, batch]]).values()))

    def milliseconds(self, tower: str, batch: int) -> float:
        started = time.perf_counter()
        self.run(tower, batch)
        return (time.perf_counter() - started) * 1e3


class PyTorch:
    """transformers' own model."""

    name = "pytorch"

    def __init__(self, checkpoint: Path, inputs: dict, threads: int):
        self.model = SiglipModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.inputs = {key: torch.from_numpy(value) for key, value in inputs.items()}

    def run(self, tower: str, batch: int) -> np.ndarray:
        values = self.inputs[tower, batch]
        with torch.inference_mode():
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
        self.a = np.random.default_rng(0).standard_normal((self.SIDE, self.SIDE), np.float32)
        self.b = np.random.default_rng(0).standard_normal((self.SIDE, self.SIDE), np.float32)

    def rate(self) -> float:
        """Operations per second."""
        started = time.perf_counter()
        self.a @ self.b
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
    # What `vector TOWER 0` of the engine's benchmark embeds; see benches/engine.rs.
    pixels = (7 * np.arange(side * side * 3) % 251).reshape(side, side, 3) / 127.5 - 1
    made["image", KNOWN] = pixels.transpose(2, 0, 1)[None].astype(np.float32)
    tokens = np.arange(text["max_position_embeddings"]) % 1000 % text["vocab_size"]
    made["text", KNOWN] = tokens[None]
    return made


# Longer than any runtime's threads spin after their last work: OpenBLAS, which computes the
# plain product, has the longest, 2^26 cycles.
PAUSE = 0.1


def after_a_pause(measure, *arguments) -> float:
    """What `measure` gives once the threads of the one before have gone to sleep."""
    time.sleep(PAUSE)
    return measure(*arguments)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 8, 32])
    parser.add_argument("--towers", nargs="+", default=["image", "text"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--engine", help="an executable of the benchmark; by default cargo's")
    parser.add_argument("--kernel", help="the kernel of this engine; by default FP32's best")
    parser.add_argument("--bf16", action="store_true", help="OpenVINO in BF16")
    parser.add_argument("--isa", help="the most that OpenVINO may use, AVX2 for instance")
    parser.add_argument("--beside", nargs="*", default=[], metavar="NAME=EXECUTABLE")
    args = parser.parse_args()

    if args.isa:
        os.environ["ONEDNN_MAX_CPU_ISA"] = args.isa
    cargo = ["cargo", "bench", "--quiet", "--bench", "engine", "--"]
    command = [args.engine] if args.engine else cargo
    kernel = ["--kernel", args.kernel] if args.kernel else []
    config = json.loads((args.checkpoint / "config.json").read_text())
    made = inputs(config, args.batches)
    with tempfile.TemporaryDirectory() as graphs:
        export = [*command, "--model", str(args.checkpoint), "--export", graphs]
        subprocess.run(export, cwd=ROOT, check=True)
        ours = Engine("ours", [*command, *kernel], args.checkpoint, args.threads)
        peers = [OnnxRuntime(Path(graphs), made, args.threads)]
        if openvino:
            hint = "bf16" if args.bf16 else "f32"
            peers.append(OpenVino(Path(graphs), made, args.threads, hint))
        if torch:
            torch.set_num_threads(args.threads)
            peers.append(PyTorch(args.checkpoint, made, args.threads))
        for tower in args.towers:
            for peer in peers:
                worst = cosine(ours.run(tower, KNOWN), peer.run(tower, KNOWN))
                print(f"{tower}: ours against {peer.name}: cosine {worst:.9f}")
        for beside in args.beside:
            name, executable = beside.split("=", 1)
            peers.append(Engine(name, [executable], args.checkpoint, args.threads))
        needed = operations(config)
        print(f"{args.threads} threads, ms per row, medians of {args.rounds} paired rounds")
        names = "".join(f"{peer.name:>12}  ratio" for peer in peers)
        print(f"tower batch     ours{names}  of the plain product, of the peak")
        product, peak = Product(), ours.peak()
        for tower in args.towers:
            for batch in args.batches:
                report(tower, batch, ours, peers, product, peak, needed[tower], args.rounds)


def report(tower, batch, ours, peers, product, peak, operations_per_row, rounds) -> None:
    """Runs the rounds of one row of the table and prints it."""
    everyone = [ours, *peers]
    for peer in everyone:
        peer.milliseconds(tower, batch)
    took = {peer.name: [] for peer in everyone}
    shares = []
    for _ in range(rounds):
        plain = after_a_pause(product.rate)
        for peer in everyone:
            took[peer.name].append(after_a_pause(peer.milliseconds, tower, batch) / batch)
        reached = operations_per_row / (took[ours.name][-1] * 1e-3)
        shares.append(reached / ((plain + after_a_pause(product.rate)) / 2))
    median = {name: statistics.median(values) for name, values in took.items()}
    columns = ""
    for peer in peers:
        pairs = zip(took[peer.name], took[ours.name])
        ratio = statistics.median(theirs / own for theirs, own in pairs)
        columns += f"{median[peer.name]:>12.2f} {ratio:>6.2f}"
    share = statistics.median(shares)
    rate = operations_per_row / (median[ours.name] * 1e-3)
    of_peak = f"{rate / peak:>8.0%}" if peak else ""
    print(f"{tower:<5} {batch:>5} {median[ours.name]:>8.2f}{columns} {share:>12.0%}{of_peak}", flush=True)


if __name__ == "__main__":
    main()
