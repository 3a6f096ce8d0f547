"""The rate of the matrix products of siglip2-base's image tower on a GPU, in PyTorch, in FP16 and
in FP8 (E4M3, one scale for each tensor): what an engine could reach if it did nothing else. For
tools/gpu-trial.

    python tools/gpu_products.py

`--device cpu --batches 1 --seconds 0.05` tests the script itself without a GPU, in FP32.
"""

import argparse
import time

import torch

TOKENS = 196
WIDTH = 768
HIDDEN = 3072

# Of one layer: how often, depth, columns. The rows are batch x tokens.
PRODUCTS = [
    ("queries, keys, values", 1, WIDTH, 3 * WIDTH),
    ("output projection", 1, WIDTH, WIDTH),
    ("feed-forward, up", 1, WIDTH, HIDDEN),
    ("feed-forward, down", 1, HIDDEN, WIDTH),
]


def seconds_each(run, seconds: float, wait) -> float:
    for _ in range(3):
        run()
    wait()
    begun, runs = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        for _ in range(20):
            run()
        wait()
        runs += 20
    return (time.perf_counter() - begun) / runs


def product(kind: str, rows: int, depth: int, columns: int, device: str):
    if kind != "fp8":
        element = torch.float16 if kind == "fp16" else torch.float32
        a = torch.randn(rows, depth, device=device, dtype=element)
        b = torch.randn(depth, columns, device=device, dtype=element)
        return lambda: a @ b
    a = torch.randn(rows, depth, device=device).to(torch.float8_e4m3fn)
    # The product wants the right side column by column.
    b = torch.randn(columns, depth, device=device).to(torch.float8_e4m3fn).t()
    one = torch.ones((), device=device)
    return lambda: torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.float16)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--batches", default="1,8,16,32,64,128")
    options = parser.parse_args()
    gpu = options.device == "cuda"
    wait = torch.cuda.synchronize if gpu else lambda: None
    kinds = ["fp16"] if gpu else ["fp32"]
    if gpu and torch.cuda.get_device_capability() >= (8, 9):
        kinds.append("fp8")
    for kind in kinds:
        for batch in map(int, options.batches.split(",")):
            flop = took = 0.0
            for _, times, depth, columns in PRODUCTS:
                rows = batch * TOKENS
                # FP8 products want multiples of 16.
                rows = -(-rows // 16) * 16
                run = product(kind, rows, depth, columns, options.device)
                took += times * seconds_each(run, options.seconds / len(PRODUCTS), wait)
                flop += times * 2 * rows * depth * columns
            print(f"| products of a layer in {kind}, batch {batch} | {flop / took / 1e12:.0f} TFLOP/s |")


if __name__ == "__main__":
    main()
