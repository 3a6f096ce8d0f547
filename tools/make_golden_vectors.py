"""Makes the checkpoints and vectors that tests/it/golden.rs compares with.

    python tools/make_golden_vectors.py            # writes tests/fixtures/golden/

The reference is transformers: two small SigLIP models with random weights are written as
checkpoints, with the outputs of transformers' own processor, tokenizer and model for
texts and for pictures in every format. The shapes cover the differences between models:

    patch16  equal widths, patches of 16, FP32, one file
    patch14  the traits of so400m and giant-opt: patches of 14 that do not fill the
             square, heads of 72, towers of unequal width, a feed-forward width that
             is not a multiple of anything, weights in BF16, in several files with an
             index

Data flow: shape -> SiglipModel(seeded) -> checkpoint files; pictures -> Pillow ->
processor -> vision tower -> rows; texts -> tokenizer -> text tower -> rows.

The weights are larger than transformers' initial ones, with which every text would get
nearly the same vector, and a mistake would hardly show.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, SiglipConfig, SiglipImageProcessor
from transformers import SiglipModel

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
TOKENIZER = ROOT / "models" / "demo"

SHAPES = {
    "patch16": {
        "vision": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 64,
            "patch_size": 16,
        },
        "text": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        "resample": 2,
    },
    "patch14": {
        "vision": {
            "hidden_size": 144,
            "intermediate_size": 215,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 60,
            "patch_size": 14,
        },
        "text": {
            "hidden_size": 96,
            "intermediate_size": 130,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
        },
        "resample": 3,
        "dtype": torch.bfloat16,
        "shard": "800KB",
    },
}

TEXTS = [
    "a red circle",
    "Three BLUE stars, please!",
    "",
    "   spaces   inside   ",
    "über naïve 猫 🐈 \u202eright to left",
    "line\nbreak\tand tab",
    "two small dotted rings on the left " * 12,
    "<eos><pad>",
]


def pictures(directory: Path) -> list[str]:
    """One picture drawn from noise and gradients, in every format of the contract."""
    directory.mkdir(parents=True)
    random = np.random.default_rng(3)
    y, x = np.mgrid[0:75, 0:101]
    base = np.stack([x * 2.5, y * 3.3, (x + y) * 1.4], axis=-1)
    base += random.normal(0, 12, base.shape)
    rgb = Image.fromarray(base.clip(0, 255).astype(np.uint8))
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray((x * 2.5).clip(0, 255).astype(np.uint8)))
    sixteen = Image.fromarray((x * 640).clip(0, 65535).astype(np.uint16))
    saved = {
        "baseline.jpg": (rgb, {"quality": 88}),
        "progressive.jpg": (rgb, {"quality": 80, "progressive": True}),
        "gray.jpg": (rgb.convert("L"), {"quality": 90}),
        "cmyk.jpg": (rgb.convert("CMYK"), {"quality": 90}),
        "rgb.png": (rgb, {}),
        "palette.png": (rgb.quantize(40), {}),
        "alpha.png": (alpha, {}),
        "gray-alpha.png": (alpha.convert("LA"), {}),
        "one-bit.png": (rgb.convert("1"), {}),
        "gray16.png": (sixteen, {}),
        "frames.gif": (rgb.quantize(64), {"save_all": True, "append_images": [rgb.rotate(90)]}),
        "lossless.webp": (rgb, {"lossless": True}),
        "lossy.webp": (rgb, {"quality": 80}),
        "rgb.bmp": (rgb, {}),
        "lzw.tiff": (rgb, {"compression": "tiff_lzw"}),
    }
    for name, (picture, options) in saved.items():
        picture.save(directory / name, **options)
    return list(saved)


@torch.no_grad()
def random_weights(model: torch.nn.Module) -> None:
    """Weights that make differences show."""
    for key, value in model.named_parameters():
        if key.endswith("bias"):
            value.normal_(0, 0.1)
        elif value.ndim > 1:
            # Sharp attention: the last token of a text, which becomes its embedding,
            # is mostly padding and gets the words only through attention.
            gain = 3.0 if "q_proj" in key or "k_proj" in key else 1.4
            value.normal_(0, gain / value[0].numel() ** 0.5)
        else:
            value.normal_(1, 0.2)
    for table in (
        model.text_model.embeddings.token_embedding,
        model.text_model.embeddings.position_embedding,
        model.vision_model.embeddings.position_embedding,
    ):
        table.weight.normal_(0, 0.7)
    model.logit_scale.fill_(1.9)
    model.logit_bias.fill_(-2.4)


def checkpoint(name: str, directory: Path) -> None:
    """Writes a seeded random checkpoint of one of the shapes."""
    shape = SHAPES[name]
    vocabulary = len(json.loads((TOKENIZER / "tokenizer.json").read_text())["model"]["vocab"])
    config = SiglipConfig(
        vision_config=shape["vision"],
        text_config=shape["text"]
        | {
            "vocab_size": vocabulary + 3,
            "max_position_embeddings": 64,
            "projection_size": shape["vision"]["hidden_size"],
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 1,
        },
    )
    torch.manual_seed(len(name))
    model = SiglipModel(config)
    random_weights(model)
    model.to(shape.get("dtype", torch.float32))
    model.save_pretrained(directory, max_shard_size=shape.get("shard", "1GB"))
    side = shape["vision"]["image_size"]
    SiglipImageProcessor(
        size={"height": side, "width": side},
        resample=shape["resample"],
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / file, directory / file)


def floats(row: torch.Tensor) -> list[float]:
    """The shortest decimals that parse to the same FP32 numbers."""
    return [float(str(np.float32(value))) for value in row.numpy()]


@torch.inference_mode()
def golden(directory: Path, images: Path, names: list[str]) -> dict:
    """The outputs of transformers for the texts and pictures."""
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(directory)
    ids = processor.tokenizer(
        TEXTS, padding="max_length", max_length=64, truncation=True, return_tensors="pt"
    )["input_ids"]
    text = model.get_text_features(input_ids=ids).pooler_output
    opened = [Image.open(images / name).convert("RGB") for name in names]
    pixels = processor.image_processor(images=opened, return_tensors="pt")["pixel_values"]
    image = model.get_image_features(pixel_values=pixels).pooler_output
    normalized = [value / value.norm(dim=-1, keepdim=True) for value in (text, image)]
    logits = normalized[0] @ normalized[1].T * model.logit_scale.exp() + model.logit_bias
    return {
        "texts": [{"text": t, "embedding": floats(r)} for t, r in zip(TEXTS, text)],
        "images": [{"file": n, "embedding": floats(r)} for n, r in zip(names, image)],
        "similarities": [floats(row) for row in torch.sigmoid(logits)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES / "golden")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    names = pictures(args.out / "images")
    for name in SHAPES:
        directory = args.out / name
        checkpoint(name, directory)
        rows = golden(directory, args.out / "images", names)
        (directory / "expected.json").write_text(json.dumps(rows) + "\n")
        spread = np.corrcoef([row["embedding"] for row in rows["texts"]])
        print(f"{name}: texts' largest likeness {np.sort(spread[0])[-2]:.3f}")


if __name__ == "__main__":
    main()
