"""Holds the service to transformers on checkpoints of every shape, and writes a table.

    cargo build --release
    python tools/check_checkpoints.py                      # small ones: kinds of files
    python tools/check_checkpoints.py base-224 large-256   # full size, random weights
    python tools/check_checkpoints.py all                  # every size; hours

For each: a checkpoint with random weights is written (tools/make_random_checkpoint.py), the
service is started on it, one picture and one text are embedded by both, and the cosines,
the seconds until it was ready, its memory and the milliseconds of a request are printed.
Exit code 1 if any cosine is below 0.9999.

Data flow: SHAPES or KINDS -> checkpoint directory -> service over HTTP, transformers -> row.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

from make_golden_vectors import FIXTURES
from make_golden_vectors import checkpoint as small_checkpoint
from make_random_checkpoint import SHAPES, write

ROOT = Path(__file__).resolve().parent.parent
TEXT = "A photo of TWO cats, sitting on a red sofa"
RUNS = 5


def edit(directory: Path, file: str, **values) -> None:
    path = directory / file
    data = json.loads(path.read_text())
    for key, value in values.items():
        *outer, last = key.split("__")
        place = data
        for part in outer:
            place = place[part]
        place[last] = value
    path.write_text(json.dumps(data))


def activation(name: str):
    return lambda directory: edit(
        directory, "config.json", text_config__hidden_act=name, vision_config__hidden_act=name
    )


def doubles(directory: Path) -> None:
    path = directory / "model.safetensors"
    save_file({name: t.double() for name, t in load_file(path).items()}, path, {"format": "pt"})


def subfolder(directory: Path) -> None:
    path = directory / "model.safetensors"
    weights = load_file(path)
    names = sorted(weights)
    index = {}
    for part, chosen in enumerate((names[::2], names[1::2])):
        file = f"weights/part-{part}.safetensors"
        (directory / file).parent.mkdir(exist_ok=True)
        save_file({name: weights[name] for name in chosen}, directory / file, {"format": "pt"})
        index |= {name: file for name in chosen}
    path.unlink()
    document = {"metadata": {}, "weight_map": index}
    (directory / "model.safetensors.index.json").write_text(json.dumps(document))


def nested(directory: Path) -> None:
    path = directory / "preprocessor_config.json"
    processor = json.loads(path.read_text()) | {"image_mean": [0.48, 0.45, 0.4], "resample": 3}
    document = {"image_processor": processor, "processor_class": "SiglipProcessor"}
    (directory / "processor_config.json").write_text(json.dumps(document))


def short_texts(directory: Path) -> None:
    edit(directory, "tokenizer_config.json", max_length=24)


def images(**values):
    """Another image processor, of the file that it has in common with the first."""
    return lambda directory: edit(directory, "preprocessor_config.json", **values)


# What a checkpoint may be otherwise than google's are, and how to make it so.
KINDS = {
    "as it is": lambda directory: None,
    "processor_config.json beside another": nested,
    "texts of 24 tokens": short_texts,
    "FP64": doubles,
    "shards in a subfolder": subfolder,
    "size as a list": images(size=[64, 64]),
    "ViT's image processor, size as a number": images(
        image_processor_type="ViTImageProcessor", size=64
    ),
    "CLIP's image processor": images(
        image_processor_type="CLIPImageProcessor", size={"shortest_edge": 72}, crop_size=64
    ),
    "a crop larger than the picture": images(
        size={"shortest_edge": 40, "longest_edge": 50}, do_center_crop=True, crop_size=64
    ),
} | {
    name: activation(name)
    for name in (
        "gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_accurate", "quick_gelu",
        "relu", "silu", "swish",
    )
}


def picture(path: Path) -> Image.Image:
    """A picture whose patches differ, of no model's size."""
    y, x = np.mgrid[0:257, 0:331]
    rgb = np.stack([x * 0.7, y * 0.9, (x // 17 + y // 23) % 2 * 160 + 40], axis=-1)
    Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(path)
    return Image.open(path).convert("RGB")


@torch.inference_mode()
def truth(directory: Path, image: Image.Image, most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """What transformers makes of picture and text."""
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(directory)
    # Of variable resolution: with the grid and the mask of the picture.
    patches = {"max_num_patches": most} if most else {}
    pixels = processor.image_processor(images=[image], return_tensors="pt", **patches)
    ids = processor.tokenizer(
        [TEXT], padding="max_length", truncation=True, return_tensors="pt"
    )["input_ids"]
    rows = (
        model.get_image_features(**pixels),
        model.get_text_features(input_ids=ids),
    )
    return tuple(getattr(row, "pooler_output", row)[0].numpy() for row in rows)


class Service:
    """The service on a port of its own."""

    def __init__(self, program: Path, directory: Path, most: int | None):
        started = time.monotonic()
        self.process = subprocess.Popen(
            [program, "--model", directory, "--host", "127.0.0.1", "--port", "0",
             "--device", "cpu", "--text-cache-bytes", "0", "--json-output",
             *(["--max-num-patches", str(most)] if most else [])],
            stderr=subprocess.PIPE, text=True,
        )
        self.url = None
        for line in self.process.stderr:
            event = json.loads(line) if line.startswith("{") else {"message": line}
            if event.get("message") == "ready":
                self.url = f"http://{event['address']}"
                break
            last = line
        if self.url is None:
            raise SystemExit(f"the service did not start: {last}")
        self.seconds = time.monotonic() - started

    def peak(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(x.split()[1]) >> 10 for x in status.splitlines() if x.startswith("VmHWM"))

    def ask(self, path: str, body: bytes, kind: str) -> tuple[np.ndarray, float]:
        """The embedding, and the milliseconds of the quickest of some requests."""
        request = urllib.request.Request(self.url + path, body, {"Content-Type": kind})
        times = []
        for _ in range(RUNS):
            started = time.monotonic()
            with urllib.request.urlopen(request) as answer:
                row = json.load(answer)["embeddings"][0]
            times.append((time.monotonic() - started) * 1000)
        return np.array(row), min(times)

    def image(self, path: Path):
        boundary = "a-boundary"
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="normalize"\r\n\r\nfalse\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
            "Content-Type: image/png\r\n\r\n"
        ).encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        return self.ask("/embed/image", body, f"multipart/form-data; boundary={boundary}")

    def text(self):
        body = json.dumps({"texts": [TEXT], "normalize": False}).encode()
        return self.ask("/embed/text", body, "application/json")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def row(
    name: str, directory: Path, program: Path, folder: Path, most: int | None = None
) -> bool:
    image = picture(folder / "picture.png")
    expected = truth(directory, image, most)
    service = Service(program, directory, most)
    try:
        image, image_ms = service.image(folder / "picture.png")
        text, text_ms = service.text()
        cosines = [cosine(a, b) for a, b in zip((image, text), expected)]
        size = sum(file.stat().st_size for file in directory.rglob("*.safetensors")) / 1e9
        print(
            f"| {name} | {size:.2f} | {cosines[0]:.6f} | {cosines[1]:.6f} "
            f"| {service.seconds:.1f} | {service.peak():,} | {image_ms:.0f} | {text_ms:.0f} |",
            flush=True,
        )
    finally:
        service.stop()
    return min(cosines) >= 0.9999


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"all, or of {', '.join(SHAPES)}")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/siglip2-embeddings")
    parser.add_argument("--max-num-patches", type=int, help="of those of variable resolution")
    parser.add_argument("--folder", type=Path, help="where checkpoints are written, and kept")
    args = parser.parse_args()
    shapes = list(SHAPES) if args.shapes == ["all"] else args.shapes
    print("| checkpoint | weights, GB | image cosine | text cosine | ready after, s "
          "| peak memory, MiB | image, ms | text, ms |\n|---|---|---|---|---|---|---|---|")
    right = True
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        for shape in shapes:
            directory = (args.folder or temporary) / shape
            if not (directory / "model.safetensors").exists():
                write(shape, directory)
            right &= row(shape, directory, args.program, temporary, args.max_num_patches)
            if not args.folder:
                shutil.rmtree(directory)
        if not shapes:
            base = temporary / "base"
            small_checkpoint("patch16", base)
            for name, change in KINDS.items():
                directory = temporary / "kind"
                shutil.copytree(base, directory)
                change(directory)
                right &= row(name, directory, args.program, temporary)
                shutil.rmtree(directory)
            for shape in ("naflex16", "naflex14"):
                fixture = FIXTURES / "golden" / shape
                for most in (None, 64, 1000):
                    name = f"{shape}, {most or 256} patches"
                    right &= row(name, fixture, args.program, temporary, most)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
