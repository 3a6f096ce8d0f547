"""The same towers in PyTorch on the same GPU, in FP16, with and without torch.compile: rows
per second for each batch size, inputs already on the device. For tools/gpu-check.

    python tools/gpu_peer.py MODEL

MODEL is a directory or a name on the hub; for `demo` the random siglip2-base is made up.
"""

import sys
import time

import torch
from transformers import SiglipConfig, SiglipModel


def load(name: str) -> SiglipModel:
    if name == "demo":
        return SiglipModel(SiglipConfig())
    return SiglipModel.from_pretrained(name)


def rate(run, rows: int, seconds: float = 2.0) -> float:
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    begun, batches = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        for _ in range(10):
            run()
        torch.cuda.synchronize()
        batches += 10
    return batches * rows / (time.perf_counter() - begun)


@torch.inference_mode()
def main() -> None:
    model = load(sys.argv[1]).half().cuda().eval()
    side = model.config.vision_config.image_size
    tokens = model.config.text_config.max_position_embeddings
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}\n")
    print("| tower | batch | eager, rows/s | torch.compile, rows/s |\n| --- | --- | --- | --- |")
    for tower, module in [("image", model.vision_model), ("text", model.text_model)]:
        compiled = torch.compile(module, mode="max-autotune-no-cudagraphs")
        for rows in [1, 8, 64]:
            if tower == "image":
                given = {"pixel_values": torch.randn(rows, 3, side, side).half().cuda()}
            else:
                given = {"input_ids": torch.randint(0, 1000, (rows, tokens)).cuda()}
            eager = rate(lambda: module(**given).pooler_output, rows)
            fast = rate(lambda: compiled(**given).pooler_output, rows)
            print(f"| {tower} | {rows} | {eager:.0f} | {fast:.0f} |", flush=True)


if __name__ == "__main__":
    main()
