"""What TensorRT for RTX makes of a product in MXFP8 and in NVFP4. Needs no GPU.

    pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings onnx numpy
    python tools/block_formats.py                       # for sm_120
    python tools/block_formats.py --architecture SM89

Builds one product of 768 by 3,072, strongly typed, whose two sides are numbers with a scale for each
block: of 32 in E4M3 (MXFP8), of 16 in E2M1 (NVFP4). Prints of each form whether it was parsed and built,
the types that the product's kernel reads, by the builder's log, and the bytes of the engine. What it says
is in docs/precision.md.
"""

import argparse
import contextlib
import io
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

import list_kernels

INNER, OUTER, TOKENS = 768, 3072, 196
TRT = "trt"


class Network:
    """A graph that makes `result` of `tokens`, both in FP16."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes) -> None:
        name = outputs[0]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))

    def constant(self, name: str, kind: int, values: np.ndarray, raw: bytes | None = None) -> str:
        if raw is None:
            self.constants.append(helper.make_tensor(name, kind, values.shape, values.ravel()))
        else:
            self.constants.append(helper.make_tensor(name, kind, values.shape, raw, raw=True))
        return name

    def weights(self) -> str:
        random = np.random.default_rng(0).normal(0, 0.02, (INNER, OUTER)).astype(np.float16)
        return self.constant("weights", TensorProto.FLOAT16, random, random.tobytes())

    def model(self, left: str, right: str) -> onnx.ModelProto:
        self.node("MatMul", [left, right], ["result"])
        side = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["batch", TOKENS, width])
        graph = helper.make_graph(
            self.nodes, "product", [side("tokens", INNER)], [side("result", OUTER)], self.constants
        )
        opsets = [helper.make_opsetid("", 23), helper.make_opsetid(TRT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=11)


def mx_dynamic(net: Network, source: str, axis: int) -> str:
    """Quantized in blocks of 32 where the graph runs, and widened again."""
    outs = [f"{source}.e4m3", f"{source}.scales"]
    net.node("TRT_MXFP8DynamicQuantize", [source], outs, TRT, axis=axis, block_size=32, output_dtype=TensorProto.FLOAT8E4M3FN)
    return mx_widened(net, source, outs, axis)


def mx_widened(net: Network, source: str, parts: list[str], axis: int) -> str:
    out = f"{source}.widened"
    net.node("TRT_MXFP8DequantizeLinear", parts, [out], TRT, axis=axis, block_size=32, output_dtype=TensorProto.FLOAT16)
    return out


def mxfp8(net: Network) -> tuple[str, str]:
    return mx_dynamic(net, "tokens", -1), mx_dynamic(net, net.weights(), 0)


def mx_weights(net: Network, scales: int) -> tuple[str, str]:
    numbers = np.full((INNER, OUTER), 0x38, np.uint8)  # 1.0
    exponents = np.full((INNER // 32, OUTER), 121, np.uint8)  # 2^-6
    parts = [
        net.constant("weights.e4m3", TensorProto.FLOAT8E4M3FN, numbers, numbers.tobytes()),
        net.constant("weights.scales", scales, exponents, exponents.tobytes()),
    ]
    return mx_dynamic(net, "tokens", -1), mx_widened(net, "weights", parts, 0)


def mxfp8_of_onnx(net: Network) -> tuple[str, str]:
    """ONNX's own operators with a block size."""
    sides = []
    for source, axis, shape in (("tokens", -1, (1, TOKENS, INNER // 32)), (net.weights(), 0, (INNER // 32, OUTER))):
        ones = np.full(shape, 0.015625, np.float16)
        scale = net.constant(f"{source}.scales", TensorProto.FLOAT16, ones, ones.tobytes())
        narrow, wide = f"{source}.e4m3", f"{source}.widened"
        net.node("QuantizeLinear", [source, scale], [narrow], axis=axis, block_size=32, output_dtype=TensorProto.FLOAT8E4M3FN)
        net.node("DequantizeLinear", [narrow, scale], [wide], axis=axis, block_size=32)
        sides.append(wide)
    return sides[0], sides[1]


def nvfp4(net: Network) -> tuple[str, str]:
    """Activations quantized in blocks of 16 where the graph runs, weights before; the scales of blocks
    in E4M3, with one of the tensor in FP32."""
    whole = net.constant("whole", TensorProto.FLOAT, np.array(0.01, np.float32))
    outs = ["tokens.e2m1", "tokens.scales"]
    net.node("TRT_FP4DynamicQuantize", ["tokens", whole], outs, TRT, axis=-1, block_size=16, scale_type=TensorProto.FLOAT8E4M3FN)
    packed = np.full(INNER * OUTER // 2, 0x22, np.uint8)  # 1.0 and 1.0
    numbers = np.empty((INNER, OUTER), np.uint8)
    scales = np.full((INNER // 16, OUTER), 0x38, np.uint8)
    weights = [
        net.constant("weights.e2m1", TensorProto.FLOAT4E2M1, numbers, packed.tobytes()),
        net.constant("weights.scales", TensorProto.FLOAT8E4M3FN, scales, scales.tobytes()),
    ]
    sides = []
    for source, axis, (narrow, scale) in (("tokens", -1, outs), ("weights", 0, weights)):
        net.node("DequantizeLinear", [scale, whole], [f"{source}.scale"])
        net.node("DequantizeLinear", [narrow, f"{source}.scale"], [f"{source}.wide"], axis=axis, block_size=16)
        net.node("Cast", [f"{source}.wide"], [f"{source}.widened"], to=TensorProto.FLOAT16)
        sides.append(f"{source}.widened")
    return sides[0], sides[1]


FORMS: dict[str, Callable[[Network], tuple[str, str]]] = {
    "FP16": lambda net: ("tokens", net.weights()),
    "MXFP8, quantized in the graph": mxfp8,
    "MXFP8, weights in E4M3, scales as bytes": lambda net: mx_weights(net, TensorProto.UINT8),
    "MXFP8, weights in E4M3, scales as FLOAT8E8M0": lambda net: mx_weights(net, TensorProto.FLOAT8E8M0),
    "MXFP8, ONNX's own operators": mxfp8_of_onnx,
    "NVFP4": nvfp4,
}


class Log(list_kernels.Log):
    """Keeps all that is said of each kernel, and the first error."""

    def __init__(self):
        super().__init__()
        self.error = ""

    def log(self, severity, message):
        self.layers += [line for line in message.splitlines() if line.startswith("Name: ")]
        if severity <= list_kernels.trt.ILogger.ERROR:
            self.error = self.error or message


def product(layers: list[str]) -> str:
    """The types that the product's kernel reads for batches of more than one, without its two factors."""
    for layer in layers:
        if "_myl1_" in layer and "LayerType: gemm," in layer:
            read = layer[: layer.index("Outputs: ")]
            tensors = re.findall(r"Dimensions: \[([^\]]*)\].*?Datatype: (\w+)", read)
            return ", ".join(kind for dims, kind in tensors if dims != "1")
    return "not found in the log"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="SM120")
    parser.add_argument("--kernels", action="store_true", help="print the log's list of kernels")
    args = parser.parse_args()
    print(f"TensorRT for RTX {list_kernels.trt.__version__}, {args.architecture}, {INNER} by {OUTER}\n")
    print("| form | what it did | the product reads | bytes of the engine |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, form in FORMS.items():
            net = Network()
            path = Path(folder) / "product.onnx"
            onnx.save(net.model(*form(net)), path)
            log, did, size = Log(), "built", ""
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    size = f"{len(list_kernels.build(path, 64, args.architecture, log)):,}"
            except SystemExit as refused:
                did = "refused: " + (log.error or str(refused)).strip().splitlines()[0]
            reads = product(log.layers) if size else ""
            print(f"| {name} | {did} | {reads} | {size} |", flush=True)
            if args.kernels:
                print("\n".join(log.layers))


if __name__ == "__main__":
    main()
