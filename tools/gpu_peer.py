"""The same towers in PyTorch on the same GPU, in FP16, with and without torch.compile (which
tunes kernels and captures CUDA graphs): rows per second for each batch size, inputs already on
the device. For tools/gpu-check.

    python tools/gpu_peer.py MODEL

MODEL is a directory or a name on the hub; `demo` uses a siglip2-base with random weights.
`--device cpu --batches 1 --seconds 0.1` tests the script itself without a GPU.
"""

import argparse
import time

import torch
from transformers import SiglipConfig, SiglipModel


def load(name: str) -> SiglipModel:
    if name == "demo":
        return SiglipModel(SiglipConfig())
    return SiglipModel.from_pretrained(name)


def rate(run, rows: int, seconds: float, wait) -> float:
    """Rows per second, after enough runs that everything is compiled and captured."""
    for _ in range(5):
        run()
    wait()
    begun, batches = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        for _ in range(10):
            run()
        wait()
        batches += 10
    return batches * rows / (time.perf_counter() - begun)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--batches", default="1,8,64")
    options = parser.parse_args()
    gpu = options.device == "cuda"
    half = torch.float16 if gpu else torch.float32
    wait = torch.cuda.synchronize if gpu else lambda: None
    model = load(options.model).to(options.device, half).eval()
    side = model.config.vision_config.image_size
    tokens = model.config.text_config.max_position_embeddings
    words = model.config.text_config.vocab_size
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if gpu else 'CPU'}\n")
    print("| tower | batch | eager, rows/s | torch.compile, rows/s |\n| --- | --- | --- | --- |")
    for tower, module in [("image", model.vision_model), ("text", model.text_model)]:
        compiled = torch.compile(module, dynamic=False, mode="max-autotune" if gpu else "default")
        for rows in map(int, options.batches.split(",")):
            if tower == "image":
                pixels = torch.randn(rows, 3, side, side)
                given = {"pixel_values": pixels.to(options.device, half)}
            else:
                given = {"input_ids": torch.randint(words, (rows, tokens)).to(options.device)}
            eager = rate(lambda: module(**given).pooler_output, rows, options.seconds, wait)
            fast = rate(lambda: compiled(**given).pooler_output, rows, options.seconds, wait)
            print(f"| {tower} | {rows} | {eager:.1f} | {fast:.1f} |", flush=True)


if __name__ == "__main__":
    main()
