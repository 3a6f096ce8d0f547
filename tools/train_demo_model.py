"""Draws pictures, trains the demo model on them, and evaluates it.

    python tools/train_demo_model.py              # 22 minutes on 2 cores
    python tools/train_demo_model.py --evaluate   # repeats the figures from the files

With the demo model people can try the service without downloading anything else. It has
the architecture and the file formats of google/siglip2-base-patch16-224 and knows only
the pictures drawn here: coloured shapes of several sizes, counts, positions and
patterns on plain backgrounds.

    Scene --draw--> picture --processor--> [3, 64, 64] --vision--+
      |                                                          +-- sigmoid loss
      +-----say---> caption --tokenizer--> 64 ids ------text-----+

A tenth of all scenes, chosen by a hash, is never drawn for training: the figures are
measured on those. Everything is seeded.
"""

import argparse
import json
import math
import random
import shutil
import time
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import AutoModel, AutoProcessor, SiglipConfig, SiglipImageProcessor
from transformers import SiglipModel
from transformers.models.siglip2.tokenization_siglip2 import Siglip2Tokenizer

from demo_scenes import ATTRIBUTES, VALUES, Scene, canvas, draw, scenes

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "demo"
FIXTURES = ROOT / "tests" / "fixtures" / "demo"

SIDE = 64
TOKENS = 64
# How many of the evaluation's sets are kept for the tests.
FIXTURE_SETS = 8

# Other words for the same thing.
SYNONYMS = {
    "small": ("small", "small", "tiny", "little"),
    "large": ("large", "large", "big"),
    "dotted": ("dotted", "dotted", "spotted"),
    "solid": ("solid", "solid", "plain"),
    "gray": ("gray", "gray", "grey"),
    "center": ("in the center", "in the middle"),
    "left": ("on the left", "at the left"),
    "right": ("on the right", "at the right"),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
}


# --- captions ---------------------------------------------------------------------


def say(scene: Scene, rng: random.Random, told: frozenset[str] = frozenset(ATTRIBUTES)) -> str:
    """A caption that mentions some attributes; the shape is always one of them."""

    def word(attribute: str) -> str:
        if attribute not in told:
            return ""
        value = getattr(scene, attribute)
        return rng.choice(SYNONYMS.get(value, (value,)))

    plural = "s" if scene.count != "one" else ""
    shape = scene.shape + ("es" if plural and scene.shape == "cross" else plural)
    if "count" in told:
        count = rng.choice(("a", "one")) if scene.count == "one" else scene.count
    else:
        count, shape = "", shape
    size, pattern, colour, place = map(word, ("size", "pattern", "colour", "place"))
    behind = ""
    if "background" in told:
        behind = rng.choice(("on a {} background", "against a {} background", "on {}"))
        behind = behind.format(word("background"))
    adjectives = [size, pattern, colour] if rng.random() < 0.6 else [pattern, size, colour]
    if rng.random() < 0.2:
        adjectives = [size, colour, pattern]
    thing = [count, *adjectives, shape]
    wording = rng.random()
    if wording < 0.45:
        parts = [*thing, place, behind]
    elif wording < 0.6:
        parts = [rng.choice(("a picture of", "a photo of", "an image of")), *thing, place, behind]
    elif wording < 0.75:
        parts = [*thing, behind, place]
    elif wording < 0.9 and behind:
        parts = [behind + ",", *thing, place]
    else:
        parts = [place + "," if place else "", *thing, behind]
    return " ".join(part for part in parts if part)


def some_attributes(rng: random.Random) -> frozenset[str]:
    """The attributes of a caption: all half the time, otherwise a random subset."""
    if rng.random() < 0.55:
        return frozenset(ATTRIBUTES)
    others = [attribute for attribute in ATTRIBUTES if attribute != "shape"]
    # People name a colour before they name anything else.
    told = {"shape", "colour"} if rng.random() < 0.8 else {"shape"}
    return frozenset(told | set(rng.sample(others, rng.randint(0, 4))))


def tokenizer(rng: random.Random, every: list[Scene]) -> Siglip2Tokenizer:
    """A tokenizer of siglip2's form: byte-pair merges learned from captions, over an
    alphabet that falls back to bytes, so that every text has ids."""
    texts = [say(rng.choice(every), rng, some_attributes(rng)) for _ in range(20_000)]
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(" ", "▁")]
    )
    # Merges stay within words, as sentencepiece keeps them.
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789.,!?'-▁")
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False),
    )
    learned = json.loads(learner.to_str())["model"]
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    tokens += sorted(learned["vocab"], key=learned["vocab"].get)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in learned["merges"]]
    return Siglip2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        model_max_length=TOKENS,
    )


# --- the model --------------------------------------------------------------------


def build(vocabulary: int) -> SiglipModel:
    """The untrained model: SigLIP2's architecture, a thousandth of its size."""
    shape = {"hidden_size": 96, "intermediate_size": 256, "num_attention_heads": 4}
    config = SiglipConfig(
        vision_config=shape | {"num_hidden_layers": 4, "image_size": SIDE, "patch_size": 8},
        text_config=shape
        | {
            "num_hidden_layers": 2,
            "vocab_size": vocabulary,
            "max_position_embeddings": TOKENS,
            "projection_size": 96,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
        },
    )
    model = SiglipModel(config)
    with torch.no_grad():
        # The initial values in SigLIP's paper: temperature 10, bias -10.
        model.logit_scale.fill_(math.log(10))
        model.logit_bias.fill_(-10)
    return model


class Heads(nn.Module):
    """Names each attribute from an embedding. They are thrown away after training;
    with them both towers learn what counts long before the sigmoid loss alone
    would have told them."""

    def __init__(self, width: int):
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(width, len(values)) for values in VALUES)

    def loss(self, embedding: torch.Tensor, labels: torch.Tensor, told: torch.Tensor):
        """Cross entropy over the mentioned attributes (`told`, 0 or 1)."""
        total = 0.0
        for index, part in enumerate(self.parts):
            each = nn.functional.cross_entropy(
                part(embedding), labels[:, index], reduction="none"
            )
            total = total + (each * told[:, index]).sum() / told[:, index].sum().clamp(min=1)
        return total / len(self.parts)


def sigmoid_loss(logits: torch.Tensor, labels: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """SigLIP's loss, where a caption belongs to every picture of the batch that has
    all that it tells of. Row: caption; column: picture."""
    differs = (labels[:, None, :] != labels[None, :, :]) & told[:, None, :].bool()
    target = 1.0 - 2.0 * differs.any(-1).float()
    return -nn.functional.logsigmoid(target * logits).sum() / logits.shape[0]


# --- training ---------------------------------------------------------------------


class Pool:
    """Pictures drawn beforehand, as the processor would pass them to the tower."""

    def __init__(self, every: list[Scene], count: int, seed: int):
        rng = random.Random(seed)
        self.scenes = [rng.choice(every) for _ in range(count)]
        self.pixels = torch.empty(count, 3, SIDE, SIDE, dtype=torch.uint8)
        started = time.time()
        for index, scene in enumerate(self.scenes):
            picture = draw(scene, rng, *canvas(rng)).resize((SIDE, SIDE), Image.BILINEAR)
            self.pixels[index] = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
            if index % 10_000 == 9_999:
                print(f"drew {index + 1} of {count} pictures, {time.time() - started:.0f} s")
        self.labels = torch.tensor(
            [
                [values.index(word) for values, word in zip(VALUES, astuple(scene))]
                for scene in self.scenes
            ]
        )


def augment(pixels: torch.Tensor) -> torch.Tensor:
    """u8 to what the tower eats, a little brighter or darker, shifted and noisy, as
    JPEG and other resizers make pictures."""
    values = (pixels.float() - 127.5) / 127.5
    batch = values.shape[0]
    values = values * torch.empty(batch, 1, 1, 1).uniform_(0.93, 1.05)
    values = values + torch.empty(batch, 3, 1, 1).uniform_(-0.04, 0.04)
    values = values + torch.randn_like(values) * torch.rand(batch, 1, 1, 1) * 0.04
    dx, dy = random.randint(-1, 1), random.randint(-1, 1)
    return torch.roll(values, (dy, dx), (2, 3)).clamp(-1, 1)


def train(args, every: list[Scene]) -> None:
    """Draws, trains, writes `MODEL`."""
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    rng = random.Random(args.seed)
    known = [scene for scene in every if not scene.held_out()]
    print(f"{len(every)} scenes, {len(every) - len(known)} of them held out")
    words = tokenizer(rng, known)
    pool = Pool(known, args.pictures, args.seed)
    model = build(len(words))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(words)} tokens")
    width = model.config.vision_config.hidden_size
    heads = nn.ModuleList([Heads(width), Heads(width)])
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": 0.05},
            {"params": [*plain, *heads.parameters()], "weight_decay": 0.0},
        ],
        lr=args.rate,
        betas=(0.9, 0.98),
    )
    started, step, shown = time.time(), 0, 0.0
    model.train()
    while True:
        # The schedule follows the share of the work done.
        done = step / args.steps
        if done >= 1:
            break
        rate = args.rate * min(1, step / 300) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        picked = torch.randint(len(pool.scenes), (args.batch,))
        told = [some_attributes(rng) for _ in picked]
        captions = [say(pool.scenes[i], rng, t) for i, t in zip(picked.tolist(), told)]
        mask = torch.tensor([[float(a in t) for a in ATTRIBUTES] for t in told])
        ids = words(captions, padding="max_length", max_length=TOKENS, truncation=True)
        labels = pool.labels[picked]

        image = model.get_image_features(pixel_values=augment(pool.pixels[picked])).pooler_output
        text = model.get_text_features(input_ids=torch.tensor(ids["input_ids"])).pooler_output
        image = nn.functional.normalize(image, dim=-1)
        text = nn.functional.normalize(text, dim=-1)
        logits = text @ image.T * model.logit_scale.exp() + model.logit_bias
        pair = sigmoid_loss(logits, labels, mask)
        sides = heads[0].loss(image * 10, labels, torch.ones_like(mask))
        sides = sides + heads[1].loss(text * 10, labels, mask)
        loss = pair + sides * (1 - done)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if time.time() - shown > 15:
            shown = time.time()
            print(
                f"{shown - started:5.0f} s  step {step}/{args.steps}  pairs {pair.item():.3f}"
                f"  attributes {sides.item():.3f}  scale {model.logit_scale.exp().item():.1f}"
                f"  bias {model.logit_bias.item():.1f}",
                flush=True,
            )
    write(model.eval(), words, args.out)


def write(model: SiglipModel, words: Siglip2Tokenizer, directory: Path) -> None:
    """The checkpoint's files, as on the hub."""
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    SiglipImageProcessor(
        size={"height": SIDE, "width": SIDE},
        resample=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(directory)


# --- evaluation -------------------------------------------------------------------


@torch.inference_mode()
def embed(directory: Path, pictures: list[Image.Image], captions: list[str]):
    """Normalized embeddings of both, the way any user of transformers gets them."""
    model = AutoModel.from_pretrained(directory).eval()
    processor = AutoProcessor.from_pretrained(directory)
    pixels = processor.image_processor(images=pictures, return_tensors="pt")
    ids = processor.tokenizer(
        captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    )
    image = model.get_image_features(pixel_values=pixels["pixel_values"]).pooler_output
    text = model.get_text_features(input_ids=ids["input_ids"]).pooler_output
    normalize = nn.functional.normalize
    return normalize(image, dim=-1), normalize(text, dim=-1), model


def first(scores: torch.Tensor) -> float:
    """The share of rows whose own column scores highest."""
    return (scores.argmax(1) == torch.arange(len(scores))).float().mean().item()


def unseen_sets(every: list[Scene], sets: int, seed: int):
    """Sets of 50 pictures and captions of scenes excluded from training."""
    rng = random.Random(seed)
    unseen = [scene for scene in every if scene.held_out()]
    for _ in range(sets):
        chosen = rng.sample(unseen, 50)
        pictures = [draw(scene, rng, *canvas(rng)) for scene in chosen]
        yield pictures, [say(scene, rng) for scene in chosen]


def evaluate(directory: Path, every: list[Scene], sets: int, seed: int) -> None:
    """Prints both figures over sets of 50 scenes excluded from training."""
    by_picture, by_caption, pairs, others = [], [], [], []
    for pictures, captions in unseen_sets(every, sets, seed):
        image, text, model = embed(directory, pictures, captions)
        cosines = image @ text.T
        by_picture.append(first(cosines))
        by_caption.append(first(cosines.T))
        odds = torch.sigmoid(cosines * model.logit_scale.exp() + model.logit_bias)
        pairs.append(odds.diagonal().mean().item())
        others.append((odds.sum() - odds.diagonal().sum()).item() / (50 * 49))
    print(f"{sets} sets of 50 scenes that training never saw:")
    for what, shares in (("caption", by_picture), ("picture", by_caption)):
        other = {"caption": "pictures", "picture": "captions"}[what]
        worst = min(shares)
        print(f"  right {what} first for {np.mean(shares):.1%} of {other} (worst set {worst:.0%})")
    right, wrong = np.mean(pairs), np.mean(others)
    print(f"  probability of a right pair {right:.3f}, of a wrong one {wrong:.5f}")


SAMPLES = {
    "red-circle.png": Scene("circle", "red", "solid", "large", "one", "center", "white"),
    "three-blue-stars.png": Scene("star", "blue", "solid", "large", "three", "center", "pink"),
    "striped-green-square.png": Scene("square", "green", "striped", "large", "one", "left", "black"),
    "four-yellow-hearts.png": Scene("heart", "yellow", "solid", "small", "four", "right", "brown"),
    "dotted-purple-triangle.png": Scene(
        "triangle", "purple", "dotted", "large", "one", "bottom", "cyan"
    ),
    "two-orange-rings.png": Scene("ring", "orange", "solid", "large", "two", "top", "gray"),
    "small-white-cross.png": Scene("cross", "white", "solid", "small", "one", "center", "black"),
    "black-diamond.png": Scene("diamond", "black", "solid", "large", "one", "right", "cyan"),
}


def write_samples(directory: Path) -> None:
    """A handful of pictures for people who try the service."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = random.Random(7)
    for name, scene in SAMPLES.items():
        draw(scene, rng, 640, 480).resize((320, 240), Image.LANCZOS).save(
            directory / name, optimize=True
        )


def write_fixtures(model: Path, directory: Path, every: list[Scene], seed: int) -> None:
    """What the tests repeat through the running service: the first sets of the
    evaluation, with what transformers makes of them; and the raw vectors of some
    samples and texts."""
    shutil.rmtree(directory, ignore_errors=True)
    sets, by_picture, by_caption = [], [], []
    for index, (pictures, captions) in enumerate(unseen_sets(every, FIXTURE_SETS, seed)):
        folder = directory / f"set{index}"
        folder.mkdir(parents=True)
        entries = []
        for number, (picture, caption) in enumerate(zip(pictures, captions)):
            file = folder / f"{number:02}.png"
            picture.save(file, optimize=True)
            entries.append({"file": f"{folder.name}/{file.name}", "caption": caption})
        image, text, _ = embed(model, pictures, captions)
        by_picture.append(first(image @ text.T))
        by_caption.append(first(text @ image.T))
        sets.append(entries)
    expected = {
        "caption_first": round(float(np.mean(by_picture)), 4),
        "picture_first": round(float(np.mean(by_caption)), 4),
    }
    print(f"fixtures: {expected}")
    text = json.dumps({"sets": sets, "expected": expected}, indent=1)
    (directory / "captions.json").write_text(text + "\n")
    write_golden(model, directory / "golden.json")


@torch.inference_mode()
def write_golden(directory: Path, file: Path) -> None:
    """The towers' raw outputs for some samples and texts."""
    model = AutoModel.from_pretrained(directory).eval()
    processor = AutoProcessor.from_pretrained(directory)
    texts = ["a red circle", "Three BLUE stars on a pink background", "", "a cat", "▁ naïve 猫 🐈"]
    texts.append("two small dotted rings " * 30)
    images = list(SAMPLES)[:4]
    opened = [Image.open(directory / "samples" / name).convert("RGB") for name in images]
    pixels = processor.image_processor(images=opened, return_tensors="pt")["pixel_values"]
    ids = processor.tokenizer(
        texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    )["input_ids"]

    def rows(values: torch.Tensor) -> list[list[float]]:
        # The shortest decimals that parse to the same FP32 numbers.
        return [[float(str(np.float32(v))) for v in row] for row in values.numpy()]

    image = rows(model.get_image_features(pixel_values=pixels).pooler_output)
    text = rows(model.get_text_features(input_ids=ids).pooler_output)
    golden = {
        "images": [{"file": f, "embedding": e} for f, e in zip(images, image)],
        "texts": [{"text": t, "embedding": e} for t, e in zip(texts, text)],
    }
    file.write_text(json.dumps(golden) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluate", action="store_true", help="measure the files, train nothing")
    parser.add_argument("--rewrite-fixtures", action="store_true", help="with --evaluate")
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--fixtures", type=Path, default=FIXTURES)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--pictures", type=int, default=60_000)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    every = scenes()
    started = time.time()
    if not args.evaluate:
        train(args, every)
        print(f"trained in {(time.time() - started) / 60:.1f} minutes")
        write_samples(args.out / "samples")
    if not args.evaluate or args.rewrite_fixtures:
        write_fixtures(args.out, args.fixtures, every, args.seed + 1)
    evaluate(args.out, every, args.sets, args.seed + 1)


if __name__ == "__main__":
    main()
