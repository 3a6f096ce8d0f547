"""Writes a checkpoint of siglip2-base's exact shape with arbitrary FP16 weights; with --naflex, of
siglip2-base-patch16-naflex's.

For building engines where the real one cannot be downloaded. It needs only Python, while
make_random_checkpoint.py needs PyTorch and transformers and makes weights similar to
those of a trained model.

    python3 tools/make_shape_checkpoint.py /tmp/siglip2-base-shape
    python3 tools/make_shape_checkpoint.py --naflex /tmp/siglip2-base-naflex-shape

Data flow: CONFIG -> names and shapes of transformers' SiglipModel -> model.safetensors;
the tokenizer is the demo model's, whose ids are all below the vocabulary.
"""

import argparse
import array
import json
import math
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

DEMO = Path(__file__).resolve().parent.parent / "models" / "demo"

ENCODER = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
CONFIG = {
    "architectures": ["SiglipModel"],
    "model_type": "siglip",
    "text_config": ENCODER
    | {"vocab_size": 256_000, "max_position_embeddings": 64, "projection_size": 768},
    "vision_config": ENCODER | {"patch_size": 16, "image_size": 224},
}
PROCESSOR = {
    "image_processor_type": "SiglipImageProcessor",
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": 224, "width": 224},
}

NAFLEX_CONFIG = CONFIG | {
    "architectures": ["Siglip2Model"],
    "model_type": "siglip2",
    "vision_config": ENCODER | {"patch_size": 16, "num_patches": 256},
}
NAFLEX_PROCESSOR = {key: value for key, value in PROCESSOR.items() if key != "size"} | {
    "image_processor_type": "Siglip2ImageProcessor",
    "patch_size": 16,
    "max_num_patches": 256,
}


def linear(name: str, to: int, fan_in: int) -> Iterator[tuple[str, list[int]]]:
    yield f"{name}.weight", [to, fan_in]
    yield f"{name}.bias", [to]


def norm(name: str, width: int) -> Iterator[tuple[str, list[int]]]:
    yield f"{name}.weight", [width]
    yield f"{name}.bias", [width]


def mlp(name: str, width: int, inner: int) -> Iterator[tuple[str, list[int]]]:
    yield from linear(f"{name}.fc1", inner, width)
    yield from linear(f"{name}.fc2", width, inner)


def encoder(name: str, config: dict) -> Iterator[tuple[str, list[int]]]:
    width = config["hidden_size"]
    for layer in range(config["num_hidden_layers"]):
        at = f"{name}.encoder.layers.{layer}"
        for part in ("layer_norm1", "layer_norm2"):
            yield from norm(f"{at}.{part}", width)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{at}.self_attn.{part}", width, width)
        yield from mlp(f"{at}.mlp", width, config["intermediate_size"])


def tensors(config: dict) -> Iterator[tuple[str, list[int]]]:
    """Names and shapes, as transformers' SiglipModel and Siglip2Model have them."""
    yield "logit_scale", [1]
    yield "logit_bias", [1]
    vision, text = config["vision_config"], config["text_config"]
    width, patch = vision["hidden_size"], vision["patch_size"]
    at = "vision_model"
    is_naflex = "num_patches" in vision
    pixels = [3 * patch * patch] if is_naflex else [3, patch, patch]
    yield f"{at}.embeddings.patch_embedding.weight", [width, *pixels]
    yield f"{at}.embeddings.patch_embedding.bias", [width]
    patches = vision["num_patches"] if is_naflex else (vision["image_size"] // patch) ** 2
    yield f"{at}.embeddings.position_embedding.weight", [patches, width]
    yield from encoder(at, vision)
    yield from norm(f"{at}.post_layernorm", width)
    yield f"{at}.head.probe", [1, 1, width]
    yield f"{at}.head.attention.in_proj_weight", [3 * width, width]
    yield f"{at}.head.attention.in_proj_bias", [3 * width]
    yield from linear(f"{at}.head.attention.out_proj", width, width)
    yield from norm(f"{at}.head.layernorm", width)
    yield from mlp(f"{at}.head.mlp", width, vision["intermediate_size"])
    width, at = text["hidden_size"], "text_model"
    yield f"{at}.embeddings.token_embedding.weight", [text["vocab_size"], width]
    yield f"{at}.embeddings.position_embedding.weight", [text["max_position_embeddings"], width]
    yield from encoder(at, text)
    yield from norm(f"{at}.final_layer_norm", width)
    yield from linear(f"{at}.head", text["projection_size"], width)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a checkpoint of siglip2-base's shape.")
    parser.add_argument("--naflex", action="store_true", help="of variable resolution")
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    directory = arguments.directory
    config, processor = CONFIG, PROCESSOR
    if arguments.naflex:
        config, processor = NAFLEX_CONFIG, NAFLEX_PROCESSOR
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    (directory / "preprocessor_config.json").write_text(json.dumps(processor, indent=2))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / file, directory / file)

    header, offset = {}, 0
    for name, shape in tensors(config):
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)

    # FP16 numbers of either sign between 2^-6 and 2^-5, about as large as trained weights:
    # one block of them, repeated. Its length has no common factor with any width.
    numbers = random.Random(0)
    block = array.array("H", (numbers.getrandbits(10) | 9 << 10 | numbers.getrandbits(1) << 15
                              for _ in range(524_287)))
    if sys.byteorder == "big":
        block.byteswap()
    block = block.tobytes()
    with open(directory / "model.safetensors", "wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for written in range(0, offset, len(block)):
            file.write(block[: offset - written])
    print(f"{directory}: siglip2-base's shape, {offset // 2:,} arbitrary parameters")


if __name__ == "__main__":
    main()
