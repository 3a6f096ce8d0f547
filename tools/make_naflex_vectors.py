"""Makes the checkpoints and vectors that tests/it/naflex.rs compares with.

    python tools/make_naflex_vectors.py       # writes tests/fixtures/golden/naflex16, naflex14

The reference is transformers: two small models of variable resolution (NaFlex, `Siglip2Model`)
with random weights, and what transformers' own processor and model make of pictures of many
shapes and of texts.

    naflex16  patches of 16, 16 x 16 positions, FP32
    naflex14  patches of 14, 7 x 7 positions, heads of 72, towers of unequal width, BF16

Data flow: shape -> Siglip2Model(seeded) -> checkpoint files; (width, height, seed, block) ->
drawn pixels -> Siglip2ImageProcessor -> patches, mask, grid -> vision tower -> row.

Pictures are not stored: `drawn` exists here and in the tests, byte for byte the same. For each
the JSON holds what it is drawn from, the most patches, the grid, the SHA-256 of the
`pixel_values` of its own patches (little-endian FP32) and its embedding.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, Siglip2Config, Siglip2ImageProcessor
from transformers import Siglip2Model
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from make_golden_vectors import FIXTURES, TEXTS, TOKENIZER, floats, random_weights
from make_resize_fixtures import noise

SHAPES = {
    "naflex16": {
        "vision": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_patches": 256,
            "patch_size": 16,
        },
        "text": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
    },
    "naflex14": {
        "vision": {
            "hidden_size": 144,
            "intermediate_size": 215,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_patches": 49,
            "patch_size": 14,
        },
        "text": {
            "hidden_size": 96,
            "intermediate_size": 130,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        "dtype": torch.bfloat16,
    },
}

# Width, height and block: squares, nearly squares, sizes that no patch divides, lines of one
# pixel, small ones that become larger, and large ones.
SIZES = [
    (1, 1, 1), (2, 2, 1), (3, 7, 1), (1, 3000, 1), (2, 3000, 1), (3000, 1, 1), (3000, 2, 1),
    (16, 16, 2), (17, 15, 3), (255, 257, 16), (256, 256, 8), (257, 255, 16), (512, 512, 31),
    (640, 480, 19), (480, 640, 19), (1023, 767, 40), (100, 900, 11), (900, 100, 11),
    (331, 257, 23), (1920, 1080, 64), (64, 4096, 16), (7, 131, 3), (5000, 40, 10), (224, 224, 14),
]
MOST = [256, 64, 1024]


def drawn(width: int, height: int, seed: int, block: int) -> np.ndarray:
    """Noise, each of its pixels a square of `block` pixels: flat areas survive a resize."""
    coarse = noise(-(-width // block), -(-height // block), seed)
    return coarse.repeat(block, 0).repeat(block, 1)[:height, :width]


def checkpoint(name: str, directory: Path) -> None:
    """Writes a seeded random checkpoint of one of the shapes."""
    shape = SHAPES[name]
    vocabulary = len(json.loads((TOKENIZER / "tokenizer.json").read_text())["model"]["vocab"])
    config = Siglip2Config(
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
    torch.manual_seed(len(name) + shape["vision"]["patch_size"])
    model = Siglip2Model(config)
    random_weights(model)
    model.to(shape.get("dtype", torch.float32))
    model.save_pretrained(directory)
    Siglip2ImageProcessor(patch_size=shape["vision"]["patch_size"]).save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / file, directory / file)


@torch.inference_mode()
def golden(directory: Path) -> dict:
    """The outputs of transformers for the texts and pictures."""
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(directory)
    ids = processor(text=TEXTS, return_tensors="pt")["input_ids"]
    assert ids.shape[1] == 64, "NaFlex processors pad texts to 64"
    text = model.get_text_features(input_ids=ids).pooler_output
    pil = Siglip2ImageProcessorPil.from_pretrained(directory)
    patch = model.config.vision_config.patch_size
    pictures, other, apart = [], 0.0, 1.0
    for most in MOST:
        cases = SIZES if patch == 16 else SIZES[::2]
        images = [Image.fromarray(drawn(w, h, s, b)) for s, (w, h, b) in enumerate(cases)]
        options = {"max_num_patches": most, "return_tensors": "pt"}
        inputs = processor.image_processor(images=images, **options)
        rows = model.get_image_features(**inputs).pooler_output
        slow = pil(images=images, **options)
        assert (slow["spatial_shapes"] == inputs["spatial_shapes"]).all()
        differ = (slow["pixel_values"] - inputs["pixel_values"]).abs().max()
        other = max(other, float(differ))
        for index, (width, height, block) in enumerate(cases):
            alone = {key: value[index : index + 1] for key, value in inputs.items()}
            single = model.get_image_features(**alone).pooler_output[0]
            cosine = torch.nn.functional.cosine_similarity(single, rows[index], dim=0)
            apart = min(apart, float(cosine))
            grid = inputs["spatial_shapes"][index].tolist()
            own = inputs["pixel_values"][index][: grid[0] * grid[1]]
            pictures.append(
                {
                    "width": width,
                    "height": height,
                    "seed": index,
                    "block": block,
                    "max_num_patches": most,
                    "grid": grid,
                    "sha256": hashlib.sha256(own.numpy().astype("<f4").tobytes()).hexdigest(),
                    "embedding": floats(single),
                }
            )
    print(
        f"{directory.name}: alone and in a batch cosine {apart:.7f}; "
        f"pixel_values of Pillow's backend differ by {other:.2e} at most"
    )
    likeness = np.corrcoef([row["embedding"] for row in pictures])
    print("likeness of pictures", np.sort(likeness[0])[-4:], np.median(likeness))
    return {
        "texts": [{"text": t, "embedding": floats(r)} for t, r in zip(TEXTS, text)],
        "pictures": pictures,
    }


def main() -> None:
    for name in SHAPES:
        directory = FIXTURES / "golden" / name
        shutil.rmtree(directory, ignore_errors=True)
        checkpoint(name, directory)
        (directory / "expected.json").write_text(json.dumps(golden(directory)) + "\n")


if __name__ == "__main__":
    main()
