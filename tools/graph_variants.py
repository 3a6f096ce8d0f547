"""What TensorRT for RTX makes of other forms of the vision tower's graph. Needs no GPU.

    pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings onnx numpy
    cargo bench --bench engine -- --model DIR --export OUT --precision fp16
    python tools/graph_variants.py OUT/vision.onnx

Builds each variant as tools/list_kernels.py does, and prints for one layer: how many kernels are
launched, and the bytes that they read and write for 64 pictures, by the sizes that the builder
logs, weights once. Products of such batches are bound by arithmetic, and what lies between them by
memory, so that its bytes are its cost. The table is in docs/precision.md.

Data flow: OUT/vision.onnx -> a variant (nodes taken out or put in) -> TensorRT's log -> a row
"""

import argparse
import collections
import contextlib
import io
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import list_kernels

BYTES = {"Float": 4, "Half": 2, "BFloat16": 2, "Int32": 4, "Int64": 8, "UInt8": 1, "Int8": 1, "Bool": 1}
PICTURES = 64


class Graph:
    """A graph that nodes can be taken out of."""

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.nodes = model.graph.node
        self.made = {out: node for node in self.nodes for out in node.output}

    def named(self, pattern: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if re.search(pattern, node.name)]

    def bypass(self, node: onnx.NodeProto, by: str) -> None:
        """Whoever reads the node reads `by` instead."""
        for other in self.nodes:
            for at, name in enumerate(other.input):
                if name in node.output:
                    other.input[at] = by
        self.nodes.remove(node)

    def cast(self, name: str, to: int) -> str:
        out = f"{name}.as{to}"
        if out not in self.made:
            node = helper.make_node("Cast", [name], [out], name=out, to=to)
            self.made[out] = node
            self.nodes.append(node)
        return out

    def constant(self, name: str, values: np.ndarray) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def insert(self, kind: str, inputs: list[str], out: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [out], name=out, **attributes))
        return out

    def sort(self) -> None:
        """Every node behind those that it reads."""
        waiting, ready = list(self.nodes), []
        known = {i.name for i in self.model.graph.input} | {i.name for i in self.model.graph.initializer}
        while waiting:
            now = [node for node in waiting if all(not i or i in known for i in node.input)]
            if not now:
                raise SystemExit(f"nobody makes what {waiting[0].name} reads")
            ready += now
            known |= {out for node in now for out in node.output}
            waiting = [node for node in waiting if not any(node is other for other in now)]
        del self.nodes[:]
        self.nodes.extend(ready)


def activation_casts(graph: Graph, pattern: str) -> None:
    for node in graph.named(pattern):
        graph.bypass(node, node.input[0])


def narrow_constants(graph: Graph, pattern: str, inputs: slice) -> None:
    """Constants that these nodes read, as halves."""
    for node in graph.named(pattern):
        for at in range(len(node.input))[inputs]:
            node.input[at] = graph.cast(node.input[at], TensorProto.FLOAT16)


COLUMNS = 12
LAYER = r"encoder\.layers\.\d+\."


def half_stream(graph: Graph) -> None:
    """The residual stream in FP16, layer norms in FP32."""
    activation_casts(graph, r"embeddings\.widened$|" + LAYER + r".*(out_proj|fc2)\.widened$")
    narrow_constants(graph, r"vision_model\.embeddings$", slice(1, 2))
    narrow_constants(graph, LAYER + r".*(out_proj|fc2)$", slice(1, 2))
    for node in graph.named(LAYER + r".*layer_norm\d$|post_layernorm$"):
        node.input[0] = graph.cast(node.input[0], TensorProto.FLOAT)


def half_norms(graph: Graph) -> None:
    """Layer norms in FP16, the residual stream in FP32."""
    for node in graph.named(LAYER + r".*layer_norm\d$"):
        node.input[0] = graph.cast(node.input[0], TensorProto.FLOAT16)
    narrow_constants(graph, LAYER + r".*layer_norm\d$", slice(1, 3))
    activation_casts(graph, LAYER + r".*layer_norm\d\.narrowed$")


def all_half(graph: Graph) -> None:
    """Stream, layer norms, biases and GELU of the layers in FP16."""
    half_stream(graph)
    for node in graph.named(LAYER + r".*layer_norm\d$"):
        node.input[0] = graph.made[node.input[0]].input[0]
    narrow_constants(graph, LAYER + r".*layer_norm\d$", slice(1, 3))
    activation_casts(graph, LAYER + r".*layer_norm\d\.narrowed$|" + LAYER + r".*(q|k|v)\.narrowed$")
    activation_casts(graph, LAYER + r".*gelu\.narrowed$")
    activation_casts(graph, LAYER + r".*((q|k|v)_proj|fc1)\.widened$")
    narrow_constants(graph, LAYER + r".*((q|k|v)_proj|fc1|q_scaled)$", slice(1, 2))


def no_key_and_value_biases(graph: Graph) -> None:
    """No bias for keys, which adds the same to all scores of a query, and the bias of values in
    the output's: the shares of a query sum to one."""
    for node in graph.named(LAYER + r".*self_attn\.(k|v)_proj$"):
        graph.bypass(node, node.input[0])
    for side in "kv":
        for node in graph.named(LAYER + rf".*self_attn\.{side}\.narrowed$"):
            graph.bypass(node, node.input[0])
        for node in graph.named(LAYER + rf".*self_attn\.{side}_proj\.widened$"):
            graph.bypass(node, node.input[0])


def scaled_queries(graph: Graph) -> None:
    """The same, and the scale of the queries in their weights and bias."""
    no_key_and_value_biases(graph)
    for node in graph.named(LAYER + r".*q_scaled$"):
        graph.bypass(node, node.input[0])


def no_biases(graph: Graph) -> None:
    """No bias and no scale before attention at all: what could be gained at most."""
    scaled_queries(graph)
    for pattern in (r".*self_attn\.q_proj$", r".*self_attn\.q\.narrowed$", r".*self_attn\.q_proj\.widened$"):
        for node in graph.named(LAYER + pattern):
            graph.bypass(node, node.input[0])


def bias_of_scores(graph: Graph) -> None:
    """Nothing between the product and attention: no bias of keys and values, and that of the queries,
    times the keys, as a bias of the scores, which is a product of its own of 12 columns."""
    no_biases(graph)
    ints = lambda name, *values: graph.constant(name, np.array(values, np.int64))
    apart = ints("apart.shape", 0, COLUMNS, 1, 196)
    for layer in range(12):
        name = f"vision_model.encoder.layers.{layer}.self_attn"
        # Of the model it would be the queries' bias times the keys' weights, head by head; what
        # numbers they are makes no difference here.
        columns = np.random.default_rng(layer).normal(0, 0.02, (768, COLUMNS)).astype(np.float16)
        turned = graph.constant(f"{name}.columns", columns)
        [first] = graph.named(re.escape(name) + r"\.q_proj\.matmul$")
        product = graph.insert("MatMul", [first.input[0], turned], f"{name}.score_bias")
        across = graph.insert("Transpose", [product], f"{name}.across", perm=[0, 2, 1])
        shaped = graph.insert("Reshape", [across, apart], f"{name}.shaped")
        [scores] = graph.named(re.escape(name) + r"\.scores$")
        out = scores.output[0]
        scores.output[0] = f"{out}.before"
        graph.insert("Add", [scores.output[0], shaped], out)


def one_product_with_bias_of_scores(graph: Graph) -> None:
    """The same, with those columns in the product of queries, keys and values."""
    bias_of_scores(graph)
    for layer in range(12):
        name = f"vision_model.encoder.layers.{layer}.self_attn"
        [bias] = graph.named(re.escape(name) + r"\.score_bias$")
        weights = [f"{name}.{side}_proj.transpose.out" for side in "qkv"]
        joined = graph.insert("Concat", [*weights, bias.input[1]], f"{name}.joined", axis=1)
        product = graph.insert("MatMul", [bias.input[0], joined], f"{name}.product")
        sizes = graph.constant(f"{name}.sizes", np.array([768, 768, 768, COLUMNS], np.int64))
        parts = [f"{name}.part.{side}" for side in ("q", "k", "v", "bias")]
        graph.nodes.append(helper.make_node("Split", [product, sizes], parts, name=f"{name}.parts", axis=-1))
        for side, part in zip("qkv", parts):
            [old] = graph.named(re.escape(name) + rf"\.{side}_proj\.matmul$")
            graph.bypass(old, part)
        graph.bypass(bias, parts[3])


def one_product(graph: Graph) -> None:
    """Queries, keys and values as one product with one bias in FP16, then `Split`; the scale of the
    queries in their weights."""
    for layer in range(12):
        name = f"vision_model.encoder.layers.{layer}.self_attn"
        [first] = graph.named(re.escape(name) + r"\.q_proj\.matmul$")
        source = first.input[0]
        weights = [f"{name}.{side}_proj.weight.cast.out" for side in "qkv"]
        biases = [graph.cast(f"{name}.{side}_proj.bias", TensorProto.FLOAT16) for side in "qkv"]
        joined = graph.insert("Concat", weights, f"{name}.qkv.weight", axis=0)
        turned = graph.insert("Transpose", [joined], f"{name}.qkv.turned", perm=[1, 0])
        bias = graph.insert("Concat", biases, f"{name}.qkv.bias", axis=0)
        product = graph.insert("MatMul", [source, turned], f"{name}.qkv.product")
        summed = graph.insert("Add", [product, bias], f"{name}.qkv.sum")
        parts = [f"{name}.{side}.part" for side in "qkv"]
        graph.nodes.append(helper.make_node("Split", [summed], parts, name=f"{name}.qkv.split", axis=-1, num_outputs=3))
        for side, part in zip("qkv", parts):
            [end] = graph.named(re.escape(name) + rf"\.{side}\.narrowed$")
            graph.bypass(end, part)
        ends = r"\.(q_scaled|[qkv]_proj|[qkv]_proj\.(widened|matmul|transpose))$"
        for node in graph.named(re.escape(name) + ends):
            graph.nodes.remove(node)


def patches_as_product(graph: Graph) -> None:
    """The first product as `MatMul` of patches that are cut out by `Reshape` and `Transpose`."""
    [conv] = [node for node in graph.nodes if node.op_type == "Conv"]
    [flat] = graph.named(r"embeddings\.flat$")
    [tokens] = graph.named(r"embeddings\.tokens$")
    ints = lambda name, *values: graph.constant(name, np.array(values, np.int64))
    cut = graph.insert("Reshape", ["pixel_values", ints("cut.shape", -1, 3, 14, 16, 14, 16)], "cut")
    moved = graph.insert("Transpose", [cut], "moved", perm=[0, 2, 4, 1, 3, 5])
    rows = graph.insert("Reshape", [moved, ints("rows.shape", -1, 196, 768)], "rows")
    given_patches(graph, conv, flat, tokens, rows)


def patches_given(graph: Graph) -> None:
    """The first product as `MatMul` of patches that the resize kernel would write."""
    [conv] = [node for node in graph.nodes if node.op_type == "Conv"]
    [flat] = graph.named(r"embeddings\.flat$")
    [tokens] = graph.named(r"embeddings\.tokens$")
    value = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT16, ["batch", 196, 768])
    graph.model.graph.input[0].CopyFrom(value)
    given_patches(graph, conv, flat, tokens, "pixel_values")


def given_patches(graph: Graph, conv, flat, tokens, rows: str) -> None:
    shape = graph.constant("kernel.shape", np.array([768, 768], np.int64))
    kernel = graph.insert("Reshape", [conv.input[1], shape], "kernel.rows")
    turned = graph.insert("Transpose", [kernel], "kernel.turned", perm=[1, 0])
    product = graph.insert("MatMul", [rows, turned], "patches.product")
    summed = graph.insert("Add", [product, conv.input[2]], "patches.sum")
    graph.bypass(tokens, summed)
    graph.nodes.remove(conv)
    graph.nodes.remove(flat)


VARIANTS: dict[str, Callable[[Graph], None]] = {
    "as it is": lambda _: None,
    "residual stream in FP16": half_stream,
    "layer norm in FP16, one operator": half_norms,
    "all of a layer in FP16": all_half,
    "no biases of keys and values": no_key_and_value_biases,
    "the same, scale in the queries' weights": scaled_queries,
    "no biases before attention (not the model)": no_biases,
    "the queries' bias as one of the scores": bias_of_scores,
    "the same, in the product of queries, keys and values": one_product_with_bias_of_scores,
    "queries, keys and values as one product": one_product,
    "first product as MatMul": patches_as_product,
    "first product of patches as they come": patches_given,
}


def tensors(text: str) -> int:
    """Bytes of the tensors of a list in the log, for 64 pictures of 196 tokens.

    The log does not say what a dimension of -1 is: where the tokens have one of their own, the
    pictures, or each of their 12 heads; elsewhere all tokens of all pictures.
    """
    total = 0
    for dims, kind in re.findall(r"Dimensions: \[([^\]]*)\].*?Datatype: (\w+)", text):
        known = [int(dim) for dim in dims.split(",") if dim and int(dim) >= 0]
        size = int(np.prod(known, dtype=np.int64)) * BYTES[kind]
        if "-1" in dims.split(","):
            size *= PICTURES * (196 if 196 not in known else 12 if 64 in known else 1)
        total += size
    return total


def cost(layers: list[str]) -> tuple[int, int, collections.Counter]:
    """Kernels of the tower in the profile up to 64, and bytes and kernels by name of one layer."""
    launched, moved, names = 0, 0, collections.Counter()
    for layer in layers:
        [name, kind] = re.match(r"Name: (.*), LayerType: (\w+),", layer).groups()
        # What computes shapes runs on the CPU.
        if not (of := re.fullmatch(r"(.*)_myl1_\d+", name)) or kind in ("reshape", "shape_call") or "hvar" in name:
            continue
        launched += 1
        # The sum and layer norm at the end belong to the next layer as well.
        if "layers.3." not in layer or "layers.4." in layer:
            continue
        lists = re.search(r"Inputs: (\[.*?\]), Constants: (\[.*?\]), Outputs: (\[.*?\]), Tactic", layer)
        moved += sum(map(tensors, lists.groups()))
        names[re.sub(r" \[profile 1\]|vision_model\.|encoder\.layers\.\d+\.", "", of[1])] += 1
    return launched, moved, names


class Log(list_kernels.Log):
    """Keeps all that is said of each kernel."""

    def log(self, severity, message):
        self.layers += [line for line in message.splitlines() if line.startswith("Name: ")]
        if severity <= list_kernels.trt.ILogger.ERROR:
            print(message)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path, help="vision.onnx of siglip2-base's shape in FP16")
    parser.add_argument("--variant", choices=VARIANTS, action="append")
    parser.add_argument("--architecture", default="SM120")
    parser.add_argument("--kernels", action="store_true", help="list them")
    args = parser.parse_args()
    print(f"TensorRT for RTX {list_kernels.trt.__version__}, {args.architecture}, profile up to 64")
    print("| variant | kernels | of a layer | MB that these read and write |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(dir=args.graph.parent) as folder:
        for data in args.graph.parent.glob("*.data"):
            (Path(folder) / data.name).hardlink_to(data)
        for name in args.variant or VARIANTS:
            graph = Graph(onnx.load(args.graph, load_external_data=False))
            VARIANTS[name](graph)
            graph.sort()
            path = Path(folder) / "vision.onnx"
            onnx.save(graph.model, path)
            log = Log()
            with contextlib.redirect_stdout(io.StringIO()):
                list_kernels.build(path, PICTURES, args.architecture, log)
            launched, moved, names = cost(log.layers)
            print(f"| {name} | {launched} | {names.total()} | {moved / 1e6:,.0f} |", flush=True)
            if args.kernels:
                print("\n".join(f"    {count} {kernel}" for kernel, count in names.items()))


if __name__ == "__main__":
    main()
