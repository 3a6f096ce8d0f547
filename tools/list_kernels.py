"""Counts the kernels that TensorRT for RTX makes of a graph. Needs no GPU.

    pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings
    cargo bench --bench engine -- --model DIR --export OUT --precision fp16
    python tools/list_kernels.py OUT/vision.onnx

Builds as build-engine does (strongly typed, a profile for a batch of 1 and one for
all up to the largest) and reads the list of layers that the builder logs, since an
engine cannot be opened for inspection without a GPU. The figures go to
docs/precision.md.
"""

import argparse
import collections
import re
import time
from pathlib import Path

import tensorrt_rtx_bindings as trt


class Log(trt.ILogger):
    """Keeps the layers that the builder lists, and prints errors."""

    def __init__(self):
        super().__init__()
        self.layers: list[str] = []

    def log(self, severity, message):
        self.layers += re.findall(r"^Name: (.*), LayerType: \w+, Inputs", message, re.M)
        if severity <= trt.ILogger.ERROR:
            print(message)


def kernels(layers: list[str], profile: int) -> collections.Counter:
    """The kernels of a profile, those of all encoder layers under one name."""
    counted = collections.Counter()
    for layer in layers:
        # The suffix counts graphs and, within each, kernels.
        if of := re.fullmatch(r"(.*)_myl(\d)_\d+", layer):
            if int(of[2]) == profile:
                name = re.sub(r" \[profile \d\]|\w+_model\.|encoder\.layers\.\d+\.", "", of[1])
                counted[name] += 1
    return counted


def build(path: Path, largest: int, architecture: str, log: Log) -> bytes:
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        raise SystemExit("\n".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    print(f"{path.name}: {network.num_layers} layers parsed")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, architecture), 0)
    tensor = network.get_input(0)
    for batches in ((1, 1, 1), (1, largest, largest)):
        profile = builder.create_optimization_profile()
        shapes = [(batch, *tuple(tensor.shape)[1:]) for batch in batches]
        profile.set_shape(tensor.name, *shapes)
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SystemExit(f"{path}: TensorRT built no engine")
    return bytes(engine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path, nargs="+")
    parser.add_argument("--max-batch", type=int, default=64)
    parser.add_argument("--architecture", default="SM120")
    args = parser.parse_args()
    print(f"TensorRT for RTX {trt.__version__}, {args.architecture}")
    for path in args.graph:
        log = Log()
        started = time.perf_counter()
        engine = build(path, args.max_batch, args.architecture, log)
        took = time.perf_counter() - started
        print(f"{len(engine):,} bytes in {took:.1f} s")
        for profile in (0, 1):
            counted = kernels(log.layers, profile)
            print(f"profile {profile}: {counted.total()} kernels")
        for name, count in counted.most_common():
            print(f"{count:>5}  {name}")


if __name__ == "__main__":
    main()
