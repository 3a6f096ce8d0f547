"""Measures the effect of half precision on the towers, and what overflows first in each graph.

    python tools/emulate_fp16.py models/demo --choices
    python tools/emulate_fp16.py models/demo --amplify
    python tools/emulate_fp16.py /path/to/a/real/checkpoint

Runs the project's own graphs (`cargo bench --bench engine -- --export`) operator by
operator and rounds every result to the type that the graph gives it. Sums within an
operator are FP32, as on tensor cores. Operators that a runtime fuses are rounded less
often than here, so this errs on the strict side. The figures go to docs/precision.md.

Data flow: checkpoint -> graphs per precision -> Policy (graph, overrides) -> run() ->
embeddings, and statistics: the largest number of every kind of value and the first
value that is not finite.

    without flags  every policy on the unchanged checkpoint, against transformers and,
                   for the FP16 graph, ONNX Runtime
    --choices      the FP16 and BF16 graphs with one decision changed at a time
    --amplify      the same policies while activations are made as large as those that
                   large vision towers are known to have, and larger
"""

import argparse
import dataclasses
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from PIL import Image
from torch.nn import functional
from transformers import AutoModel, AutoProcessor

ROOT = Path(__file__).resolve().parent.parent
IMAGES = sorted((ROOT / "models" / "demo" / "samples").glob("*.png"))
IMAGES += [ROOT / "tests/fixtures/golden/images" / n for n in ("baseline.jpg", "palette.png")]
TEXTS = ["a red circle", "three blue stars", "", "two small dotted rings on the left " * 12]

FP32, FP16, BF16 = torch.float32, torch.float16, torch.bfloat16
TYPES = {1: FP32, 10: FP16, 16: BF16}


class Graph:
    """An exported tower, with its weights as FP32 tensors beside their stored type.
    Graphs of one tower share them, by name."""

    def __init__(self, path: Path, shared: dict[str, torch.Tensor]):
        onnx.checker.check_model(str(path), full_check=True)
        model = onnx.load(path, load_external_data=False)
        self.path = path
        self.nodes = list(model.graph.node)
        self.input = model.graph.input[0]
        self.constants: dict[str, torch.Tensor] = {}
        self.types: dict[str, torch.dtype] = {}
        for initializer in model.graph.initializer:
            name = initializer.name
            if initializer.data_type in TYPES:
                self.types[name] = TYPES[initializer.data_type]
            if initializer.data_type == onnx.TensorProto.FLOAT8E4M3FN:
                # The zero points of FP8, which are 0 and say only the type.
                self.constants[name] = torch.zeros(())
                continue
            if name not in shared:
                values = numpy_helper.to_array(initializer, str(path.parent))
                if name in self.types:
                    values = values.astype(np.float32)
                shared[name] = torch.from_numpy(np.array(values))
            self.constants[name] = shared[name]


@dataclasses.dataclass(frozen=True)
class Policy:
    """A graph, and the results that are rounded differently."""

    name: str
    precision: str
    # (pattern, type): results of nodes whose name matches are rounded to it instead.
    overrides: tuple[tuple[str, torch.dtype], ...] = ()
    # Everything, weights included, is rounded to this.
    all: torch.dtype | None = None
    # Layer norms step by step, each rounded to this: as exporters wrote them before
    # LayerNormalization was an operator.
    norm_steps: torch.dtype | None = None
    # GELU's tanh approximation likewise.
    gelu_steps: torch.dtype | None = None
    # transformers multiplies the scores, not the queries.
    scale_scores: bool = False

    def round_as(self, name: str, own: torch.dtype) -> torch.dtype:
        for pattern, other in self.overrides:
            if re.search(pattern, name):
                return other
        return self.all or own


POLICIES = [
    Policy("all FP16", "fp32", all=FP16, norm_steps=FP16, scale_scores=True),
    Policy("FP16, layer norm FP32", "fp32", all=FP16),
    Policy("fp16", "fp16"),
    Policy("bf16", "bf16"),
]

# The activity of the neuron that `planted` makes.
NEURON = 64.0
# Names of the sums that the layers add to: the residual stream.
RESIDUAL = r"(embeddings|residual[12])$"
CHOICES = [
    Policy("fp16", "fp16"),
    Policy("residual stream in FP16", "fp16", ((RESIDUAL, FP16),)),
    Policy("layer norm in FP16 steps", "fp16", norm_steps=FP16),
    Policy(
        "biases added and queries scaled in FP16",
        "fp16",
        ((r"(proj|fc[12]|q_scaled)$", FP16), (r"(proj|fc[12])\.bias", FP16)),
    ),
    Policy("GELU of FP16", "fp16", ((r"fc1$", FP16),)),
    Policy("GELU in FP16 steps", "fp16", ((r"fc1$", FP16),), gelu_steps=FP16),
    Policy("softmax in FP32", "fp16", ((r"(scores|softmax)$", FP32),)),
    Policy("token table in FP32", "fp16", ((r"token_embedding|embeddings\.tokens$", FP32),)),
    Policy("bf16", "bf16"),
    Policy("bf16, patches in BF16", "bf16", ((r"patch_embedding|embeddings\.pixels", BF16),)),
    Policy("bf16, token table in FP16", "bf16", ((r"token_embedding|embeddings\.tokens$", FP16),)),
]


class Seen:
    """The largest finite magnitude of every kind of value; the first not finite."""

    KINDS = (
        ("residual", RESIDUAL),
        ("layer norm", r"layer_?norm\d?(\.narrowed)?$"),
        ("scores", r"scores$"),
        ("GELU", r"gelu$"),
        ("products", r"(matmul|mix)$"),
    )

    def __init__(self):
        self.largest: dict[str, float] = {}
        self.broken = 0
        self.first = ""

    def note(self, name: str, value: torch.Tensor) -> None:
        largest = float(value.abs().max())
        if not math.isfinite(largest):
            finite = value[torch.isfinite(value)]
            self.broken += value.numel() - finite.numel()
            self.first = self.first or name
            largest = float(finite.abs().max()) if finite.numel() else 0.0
        for kind, pattern in self.KINDS:
            if re.search(pattern, name):
                self.largest[kind] = max(self.largest.get(kind, 0.0), largest)


def rounded(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return value if dtype == FP32 else value.to(dtype).float()


def e4m3(value: torch.Tensor) -> torch.Tensor:
    """Rounded to FP8, and clamped to its range as TensorRT does."""
    return value.clamp(-448, 448).to(torch.float8_e4m3fn).float()


def along(scale: torch.Tensor, of: torch.Tensor, axis: int) -> torch.Tensor:
    """A scale, or one for each place of an axis, in a shape that goes with `of`."""
    if not scale.ndim:
        return scale
    shape = [1] * of.ndim
    shape[axis] = -1
    return scale.reshape(shape)


def layer_norm(
    policy: Policy, name: str, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor,
    epsilon: float, seen: Seen,
) -> torch.Tensor:
    if not policy.norm_steps:
        return functional.layer_norm(x, x.shape[-1:], scale, bias, epsilon)

    def step(part: str, value: torch.Tensor) -> torch.Tensor:
        value = rounded(value, policy.norm_steps)
        seen.note(f"{name}.{part}", value)
        return value

    centered = step("centered", x - step("mean", x.mean(-1, keepdim=True)))
    squares = step("squares", centered * centered)
    deviation = step("deviation", (step("variance", squares.mean(-1, keepdim=True)) + epsilon).sqrt())
    return step("divided", centered / deviation) * scale + bias


def gelu_in_steps(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The tanh approximation as TensorRT's fused kernels list its steps."""
    cube = rounded(rounded(x * x, dtype) * x, dtype)
    inner = rounded(x + rounded(cube * 0.044715, dtype), dtype)
    gate = rounded(torch.tanh(rounded(inner * math.sqrt(2 / math.pi), dtype)) + 1, dtype)
    return rounded(x * 0.5, dtype) * gate


@torch.inference_mode()
def run(
    graph: Graph, policy: Policy, inputs: torch.Tensor, changed: dict[str, torch.Tensor],
    watch: Callable[[str, torch.Tensor], None] | None = None,
) -> tuple[torch.Tensor, Seen]:
    """The tower's rows under a policy; `changed` stands in for weights by name."""
    seen = Seen()
    values = graph.constants | changed
    types = dict(graph.types)
    values = {
        name: rounded(value, policy.round_as(name, types[name])) if name in types else value
        for name, value in values.items()
    }
    values[graph.input.name] = inputs
    element = TYPES.get(graph.input.type.tensor_type.elem_type)
    if element:
        types[graph.input.name] = element
        values[graph.input.name] = rounded(inputs, policy.all or element)
    scale = None
    uses: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    for node in graph.nodes:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        args = [values[name] for name in node.input]
        own = types.get(node.input[0], FP32)
        match node.op_type:
            case "QuantizeLinear":
                axis = attributes.get("axis", -1)
                out = e4m3(args[0] / along(args[1], args[0], axis))
                if watch:
                    watch(node.name, args[0] / along(args[1], args[0], axis))
            case "DequantizeLinear":
                own = types[node.input[1]]
                out = args[0] * along(args[1], args[0], attributes.get("axis", -1))
            case "Concat":
                out = torch.cat(args, attributes["axis"])
            case "Split":
                parts = torch.split(args[0], args[1].tolist(), attributes["axis"])
                values.update(zip(node.output, parts))
                types.update((name, own) for name in node.output)
                continue
            case "Conv":
                stride = attributes["strides"]
                out = functional.conv2d(*args, stride=stride)
            case "Reshape":
                shape = [
                    args[0].shape[i] if size == 0 else size
                    for i, size in enumerate(args[1].tolist())
                ]
                out = args[0].reshape(shape)
            case "Transpose":
                out = args[0].permute(attributes["perm"])
            case "Add":
                out = args[0] + args[1]
            case "Mul":
                # The only product of this kind is that of the queries and their scale.
                scale = args[1]
                out = args[0] if policy.scale_scores else args[0] * args[1]
            case "MatMul":
                out = args[0] @ args[1]
                if policy.scale_scores and node.name.endswith(".scores"):
                    out = rounded(out, policy.all)
                    seen.note(f"{node.name} before the scale, scores", out)
                    out = out * scale
            case "Softmax":
                out = torch.softmax(args[0], -1)
            case "Gelu":
                approximate = attributes["approximate"].decode()
                if policy.gelu_steps:
                    out = gelu_in_steps(args[0], policy.gelu_steps)
                else:
                    out = functional.gelu(args[0], approximate=approximate)
            case "Gather":
                out = torch.index_select(args[0], attributes["axis"], args[1].reshape(-1).long())
                if args[1].ndim > 1:
                    out = out.reshape(*args[1].shape, -1)
            case "LayerNormalization":
                out = layer_norm(policy, node.name, *args, attributes["epsilon"], seen)
            case "Cast":
                own = TYPES[attributes["to"]]
                out = args[0]
            case other:
                sys.exit(f"{graph.path.name} has an operator {other}, which is not emulated")
        types[node.output[0]] = own
        moved = node.op_type in ("Reshape", "Transpose", "Gather", "Concat", "QuantizeLinear")
        if not moved:
            out = rounded(out, policy.round_as(node.name, own))
            if node.input[0] not in graph.constants:
                seen.note(node.name, out)
        if watch:
            watch(node.name, out)
        values[node.output[0]] = out
        for name in node.input:
            uses[name] -= 1
            if not uses[name]:
                values.pop(name, None)
    return out, seen


def export(
    checkpoint: Path, directory: Path, others: dict[str, list[str]] | None = None,
    exporter: str | None = None,
) -> dict[str, dict[str, Graph]]:
    """Both towers of the checkpoint in every precision, and in others, whose graphs are exported
    with these flags. `exporter` is the benchmark's program; it is built if left out."""
    graphs: dict[str, dict[str, Graph]] = {"image": {}, "text": {}}
    shared: dict[str, dict] = {"image": {}, "text": {}}
    command = ["cargo", "bench", "--quiet", "--profile", "dev", "--bench", "engine", "--"]
    command = [exporter] if exporter else command
    command += ["--model", str(checkpoint.resolve()), "--export", str(directory)]
    flags = {name: ["--precision", name] for name in ("fp32", "fp16", "bf16")} | (others or {})
    for precision in flags:
        subprocess.run([*command, *flags[precision]], cwd=ROOT, check=True)
        for tower, file in (("image", "vision"), ("text", "text")):
            path = directory / f"{file}-{precision}.onnx"
            (directory / f"{file}.onnx").rename(path)
            graphs[tower][precision] = Graph(path, shared[tower])
    return graphs


def cosine(rows: torch.Tensor, truth: torch.Tensor) -> float:
    """The lowest of all rows; NaN if a row is not finite."""
    return float(functional.cosine_similarity(rows.double(), truth.double(), dim=-1).min())


@torch.inference_mode()
def reference(checkpoint: Path, images: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Inputs of both towers, and transformers' outputs for them in FP32."""
    model = AutoModel.from_pretrained(checkpoint, dtype=FP32).eval()
    processor = AutoProcessor.from_pretrained(checkpoint)
    opened = [Image.open(path).convert("RGB") for path in IMAGES[:images]]
    pixels = processor.image_processor(images=opened, return_tensors="pt")["pixel_values"]
    ids = processor.tokenizer(
        TEXTS, padding="max_length", max_length=64, truncation=True, return_tensors="pt"
    )["input_ids"]
    rows = {
        "image": model.get_image_features(pixel_values=pixels).pooler_output,
        "text": model.get_text_features(input_ids=ids).pooler_output,
    }
    return {"image": pixels, "text": ids}, rows


def onnx_runtime(graph: Graph, inputs: torch.Tensor) -> torch.Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"])
    wanted = {1: np.float32, 10: np.float16, 6: np.int32, 7: np.int64}
    inputs = inputs.numpy().astype(wanted[graph.input.type.tensor_type.elem_type])
    return torch.from_numpy(session.run(None, {graph.input.name: inputs})[0])


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def magnitude(value: float) -> str:
    return f"{value:.0f}" if value < 1e5 else f"{value:.1e}"


def verdict(value: float) -> str:
    """A cosine, written as 1 minus its loss if it is close to 1."""
    if math.isnan(value):
        return "not finite"
    return f"1 - {1 - value:.1e}" if value > 0.99 else f"{value:.3f}"


def as_it_is(graphs: dict, inputs: dict, truth: dict) -> None:
    for tower in graphs:
        rows = []
        for policy in [Policy("fp32", "fp32"), *POLICIES]:
            out, seen = run(graphs[tower][policy.precision], policy, inputs[tower], {})
            largest = [magnitude(seen.largest[kind]) for kind, _ in Seen.KINDS]
            rows.append([policy.name, verdict(cosine(out, truth[tower])), *largest, seen.first])
        out = onnx_runtime(graphs[tower]["fp16"], inputs[tower])
        rows.append(["fp16, ONNX Runtime", verdict(cosine(out, truth[tower]))])
        head = ["", "cosine", *(kind for kind, _ in Seen.KINDS), "first not finite"]
        table(f"{tower} tower", head, rows)


def choices(graphs: dict, inputs: dict, truth: dict) -> None:
    rows = []
    for policy in CHOICES:
        row = [policy.name]
        for tower in graphs:
            out, _ = run(graphs[tower][policy.precision], policy, inputs[tower], {})
            row.append(f"{1 - cosine(out, truth[tower]):.1e}")
        rows.append(row)
    table("1 - cosine to transformers, the worst row", ["", *graphs], rows)


def planted(graph: Graph, inputs: torch.Tensor, layer: int, size: float) -> dict:
    """Weights with a neuron that writes up to `size` into one channel of the residual
    stream, and writes at one token in a hundred: as the few neurons do that are behind
    the massive activations of trained vision towers. It takes the place of a neuron of
    the layer; its direction is that in which one token differs most from the rest."""
    name = f"vision_model.encoder.layers.{layer}"
    normed = []

    def watch(node: str, value: torch.Tensor) -> None:
        if node == f"{name}.layer_norm2":
            normed.append(value)

    run(graph, Policy("fp32", "fp32"), inputs, {}, watch)
    tokens = normed[0].flatten(0, 1)
    apart = tokens - tokens.mean(0)
    mark = apart[apart.norm(dim=-1).argmax()]
    along = tokens @ mark
    threshold = along.quantile(0.99)
    gain = NEURON / (along.max() - threshold)
    changed = {}
    for part in ("fc1.weight", "fc1.bias", "fc2.weight"):
        changed[f"{name}.mlp.{part}"] = graph.constants[f"{name}.mlp.{part}"].clone()
    changed[f"{name}.mlp.fc1.weight"][0] = mark * gain
    changed[f"{name}.mlp.fc1.bias"][0] = -gain * threshold
    changed[f"{name}.mlp.fc2.weight"][:, 0] = 0
    changed[f"{name}.mlp.fc2.weight"][5, 0] = size / NEURON
    return changed


def marked(graph: Graph, size: float) -> dict:
    """Weights whose position embeddings hold `size` at one token, in one channel: large
    in the residual stream, but not the result of any product."""
    name = "vision_model.embeddings.position_embedding.weight"
    table = graph.constants[name].clone()
    table[table.shape[0] // 3, 5] = size
    return {name: table}


def sharpened(graph: Graph, inputs: torch.Tensor, layer: int, size: float) -> dict:
    """Weights that make one layer's largest attention score `size`, by as much of the
    queries as of the keys."""
    name = f"vision_model.encoder.layers.{layer}.self_attn"
    largest = []

    def watch(node: str, value: torch.Tensor) -> None:
        if node == f"{name}.scores":
            largest.append(float(value.abs().max()))

    run(graph, Policy("fp32", "fp32"), inputs, {}, watch)
    gain = math.sqrt(size / largest[0])
    return {
        f"{name}.{part}": graph.constants[f"{name}.{part}"] * gain
        for part in ("q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias")
    }


def amplify(graphs: dict, inputs: dict) -> None:
    towers, pixels = graphs["image"], inputs["image"]
    plain = towers["fp32"]
    layer = 1
    for title, make in (
        ("a large position embedding", lambda size: marked(plain, size)),
        ("a neuron of layer 1 that writes a massive activation",
         lambda size: planted(plain, pixels, layer, size)),
        ("attention scores of layer 1",
         lambda size: sharpened(plain, pixels, layer, size)),
    ):
        rows = []
        for size in (1e2, 1e3, 1e4, 6e4, 1e5, 1e6):
            changed = make(size)
            truth, seen = run(plain, Policy("fp32", "fp32"), pixels, changed)
            row = [magnitude(size)]
            row += [magnitude(seen.largest[kind]) for kind, _ in Seen.KINDS]
            for policy in POLICIES:
                out, seen = run(towers[policy.precision], policy, pixels, changed)
                result = verdict(cosine(out, truth))
                if seen.first:
                    result += f"; {seen.broken} from {short(seen.first)}"
                row.append(result)
            rows.append(row)
        head = ["size", *(kind for kind, _ in Seen.KINDS), *(p.name for p in POLICIES)]
        table(f"{title}: FP32's largest of each kind; cosine to FP32, values not finite", head, rows)


def short(name: str) -> str:
    return name.removeprefix("vision_model.").removeprefix("encoder.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--choices", action="store_true")
    parser.add_argument("--amplify", action="store_true")
    parser.add_argument("--images", type=int, default=len(IMAGES))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        graphs = export(args.checkpoint, Path(directory))
        inputs, truth = reference(args.checkpoint, args.images)
        if args.choices:
            choices(graphs, inputs, truth)
        elif args.amplify:
            amplify(graphs, inputs)
        else:
            as_it_is(graphs, inputs, truth)


if __name__ == "__main__":
    main()
