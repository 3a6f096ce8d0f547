"""Writes small look-alikes of the tokenizers that SigLIP checkpoints come with, and
the ids that transformers makes of some 200 texts with each: the truth for
tests/text_tokens.rs.

    python tools/make_tokenizer_fixtures.py

Needs transformers, tokenizers and sentencepiece. Directories, each as the Hugging Face
hub would have it, with config.json because AutoTokenizer looks there too:

    siglip2             saved by Siglip2Tokenizer.save_pretrained (lower-cases)
    siglip2_hub         tokenizer.json as google/siglip2-* has it, class GemmaTokenizer
    siglip2_hub_naflex  the same files with model_type siglip2: transformers replaces the
                        class by Siglip2Tokenizer and lower-cases
    siglip2_left        padding and truncation on other sides, other pad token
    plain               tokenizer.json alone with PreTrainedTokenizerFast
    siglip1_spiece      spiece.model alone, with the usual table of characters (nmt_nfkc)
    siglip1             sentencepiece unigram with a tokenizer.json as transformers.js
                        made it; the truth is the slow SiglipTokenizer on spiece.model

texts.json holds the texts, <directory>/expected.json the ids of each.
"""

import io
import json
import pathlib
import random
import re
import shutil
import string
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, Siglip2Tokenizer

OUT = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "tokenizers"
MAX = 64

SENTENCES = """A photo of a cat sitting on a windowsill. Two dogs running through the snow!
An astronaut riding a horse in the style of Vermeer, 4k, highly detailed.
Das Mädchen läuft über die Straße. Où est la bibliothèque? El niño comió una manzana.
Быстрая коричневая лиса прыгает через ленивую собаку. Η γρήγορη καφέ αλεπού ΟΔΟΣ.
東京タワーの夜景。猫が窓辺に座っている。 北京的天安门广场在早晨。 서울의 밤하늘은 아름답다.
صورة قطة تجلس على حافة النافذة. חתול יושב על אדן החלון. แมวนั่งอยู่บนขอบหน้าต่าง
The quick brown fox jumps over the lazy dog, again and again and again; it never stops.
price: $19.99 (20% off) - e-mail: someone@example.com, https://example.com/a_b?c=d&e=f
red blue green yellow black white orange purple small large old new wooden metal glass
def main(): return {"key": [1, 2, 3]} # code <b>bold</b>""".splitlines()


def texts():
    out = ["", " ", "   ", "\n", "\n\n\n", "\t", " \n\t ", "a", "A", "ab", " a", "a ", " a ", "  a  b  "]
    out += SENTENCES + [s.upper() for s in SENTENCES] + [s.lower() for s in SENTENCES]
    out += ["🐱", "👨‍👩‍👧‍👦 family", "🏳️‍🌈🇩🇪", "e\u0301 é", "a\u0308\u0323", "ﬁ ligature", "①②③", "ＦＵＬＬ　ＷＩＤＴＨ"]
    out += ["İstanbul", "ẞ", "Ǆ", "ΑΣ", "ΑΣ ΒΣΓ", "ΣΑΣ.", "K (kelvin)", "Å", "\u0130\u0131", "ＡＢ"]
    out += ["<eos>", "<pad>", "<bos>", "<unk>", "<mask>", "</s>", "a<eos>b", "a <eos> b", "<eos><eos>", "<EOS>", "<Pad>x"]
    out += ["<pad> <pad>", "x</s>y", "x </s> y", "<unk>hello", "hello<unk>", "< eos >", "<eos", "eos>", "<start_of_turn>user"]
    out += ["\0", "a\0b", "\x01\x02\x1f", "\x7f", "\x1c\x1d", "a\x1cb", "\u200b", "\ufeffbom", "\u00a0nbsp\u00a0", "\u2028line", "\u3000"]
    out += ["▁", "▁a", "a▁b", "▁▁▁", "a▁", "▁ ▁", " ▁", "_", "a_b", "  ", "    ", "a  b", "a    b", "\n \n", "a\nb", "a\r\nb", "\r"]
    out += ["[multimodal]", "<unused1>", "a<unused1>b", "<b>bold</b>", "<table><tr>", "\t\t\t", "   a", "<0x41>", "<0xE2>"]
    out += [string.punctuation, string.printable, "'s", "don't", "U.S.A.", "1234567890", "3.14159", "1,000,000", "½", "²"]
    for count in (1, 61, 62, 63, 64, 65, 66, 127, 128, 200):
        out += [" ".join(["cat"] * count), "a" * count, "猫" * count, "x " * count, "\n" * count, " " * count, "é" * count]
    draw = random.Random(3)
    words = " ".join(SENTENCES).split()
    for _ in range(25):
        out.append(draw.choice([" ", "  ", "\n"]).join(draw.choice(words) for _ in range(draw.randint(2, 90))))
    for _ in range(15):
        out.append("".join(chr(draw.choice([draw.randint(1, 0x7F), draw.randint(0x80, 0x2FF), draw.randint(0x370, 0xD7FF), draw.randint(0x1F300, 0x1FAFF)])) for _ in range(draw.randint(1, 60))))
    long = " ".join(draw.choice(words) for _ in range(1500))
    out += [long[:10_000], "a" * 10_000, long[:5000].replace(" ", ""), "<eos>" * 100, ("cat " * 40 + "<eos> dog ") * 5]
    return out


ADDED = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<unused0>", "<unused1>", "<start_of_turn>", "[multimodal]"]
RUNS = ["\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁", "<b>", "</b>", "<table>"]


def bpe():
    """A small Gemma: specials, bytes, then pieces trained on the sentences."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    # Words are kept apart in training only, as sentencepiece does.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    first = ADDED + RUNS + [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=1100, special_tokens=first, show_progress=False, limit_alphabet=260)
    tokenizer.train_from_iterator(SENTENCES + [" " + s.lower() for s in SENTENCES] * 2, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]


def write(directory, name, data):
    directory.mkdir(parents=True, exist_ok=True)
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, indent=1)
    (directory / name).write_text(text, encoding="utf-8")


def expected(directory, all_texts, **options):
    tokenizer = AutoTokenizer.from_pretrained(str(directory), **options)
    ids = [tokenizer(t, padding="max_length", max_length=MAX, truncation=True)["input_ids"] for t in all_texts]
    assert all(len(row) == MAX for row in ids)
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in compact(ids))
    write(directory, "expected.json", f'{{"class": "{type(tokenizer).__name__}", "ids": [\n{rows}\n]}}\n')
    print(directory.name, type(tokenizer).__name__, len(ids), tokenizer.padding_side, ids[15][:12])


def compact(rows):
    """Runs of padding at an end as [id, count], to keep the files small."""
    for row in rows:
        tail = 1
        while tail < len(row) and row[-tail - 1] == row[-1]:
            tail += 1
        yield row[:-tail] + [[row[-1], tail]]


def hub_json(vocab, merges, **changes):
    """tokenizer.json as the hub has it for Gemma models."""
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A:0 <eos>:0", pair="$A:0 <eos>:0 $B:1 <eos>:1", special_tokens=[("<eos>", vocab["<eos>"])])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ADDED])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in RUNS])
    out = json.loads(tokenizer.to_str())
    out.update(changes)
    return out


def tokenizer_config(kind, **more):
    tokens = {i: {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": t in ADDED} for i, t in enumerate(ADDED + RUNS)}
    return {
        "add_bos_token": False,
        "add_eos_token": True,
        "added_tokens_decoder": tokens,
        "bos_token": "<bos>",
        "clean_up_tokenization_spaces": False,
        "do_lower_case": True,
        "eos_token": "<eos>",
        "model_max_length": MAX,
        "pad_token": "<pad>",
        "padding_side": "right",
        "processor_class": "SiglipProcessor",
        "sp_model_kwargs": {},
        "spaces_between_special_tokens": False,
        "tokenizer_class": kind,
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
        **more,
    }


def unigram(rule):
    """Trains a sentencepiece unigram."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([s.lower() for s in SENTENCES] * 3),
        model_writer=model,
        vocab_size=400,
        model_type="unigram",
        normalization_rule_name=rule,
        character_coverage=0.98,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model


def siglip1_spiece(directory, all_texts):
    """spiece.model alone; without tokenizer_config.json the class has its own defaults."""
    directory.mkdir(parents=True)
    (directory / "spiece.model").write_bytes(unigram("nmt_nfkc").getvalue())
    write(directory, "config.json", {"model_type": "siglip"})
    expected(directory, all_texts)


def siglip1(directory, all_texts):
    """Converts a sentencepiece unigram."""
    # The tables of the usual nmt_nfkc would be 300 KB in tokenizer.json.
    model = unigram("identity")
    with tempfile.TemporaryDirectory() as folder:
        slow = pathlib.Path(folder)
        (slow / "spiece.model").write_bytes(model.getvalue())
        config = {
            "tokenizer_class": "SiglipTokenizer",
            "do_lower_case": True,
            "eos_token": "</s>",
            "model_max_length": MAX,
            "pad_token": "</s>",
            "unk_token": "<unk>",
            "sp_model_kwargs": {},
            "added_tokens_decoder": {
                str(i): {"content": t, "lstrip": True, "normalized": False, "rstrip": True, "single_word": False, "special": True}
                for i, t in ((1, "</s>"), (2, "<unk>"))
            },
        }
        write(slow, "tokenizer_config.json", config)
        write(slow, "config.json", {"model_type": "siglip"})
        expected(slow, all_texts)
        for name in ("tokenizer_config.json", "config.json", "expected.json"):
            write(directory, name, (slow / name).read_text(encoding="utf-8"))
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(len(processor))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    steps = [
        normalizers.Lowercase(),
        normalizers.Replace(Regex("[" + re.escape(string.punctuation) + "]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens([AddedToken(t, lstrip=True, rstrip=True, normalized=False) for t in ("</s>", "<unk>")])
    write(directory, "tokenizer.json", tokenizer.to_str())


def main():
    if OUT.exists():
        shutil.rmtree(OUT)
    all_texts = texts()
    write(OUT, "texts.json", json.dumps(all_texts, ensure_ascii=True, indent=0))
    vocab, merges = bpe()
    plain = {"model_type": "siglip", "text_config": {"vocab_size": len(vocab)}}

    Siglip2Tokenizer(vocab=vocab, merges=merges, extra_special_tokens=["<unused1>"], padding_side="right").save_pretrained(OUT / "siglip2")
    write(OUT / "siglip2", "config.json", {"model_type": "siglip2"})

    for name, kind in (("siglip2_hub", "siglip"), ("siglip2_hub_naflex", "siglip2")):
        write(OUT / name, "tokenizer.json", hub_json(vocab, merges))
        write(OUT / name, "tokenizer_config.json", tokenizer_config("GemmaTokenizer"))
        write(OUT / name, "config.json", {**plain, "model_type": kind})
        write(OUT / name, "special_tokens_map.json", {k: {"content": f"<{k[:3]}>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False} for k in ("bos_token", "eos_token", "pad_token", "unk_token")})

    left = tokenizer_config("GemmaTokenizerFast", padding_side="left", truncation_side="left", pad_token="<unused0>")
    del left["added_tokens_decoder"]
    padding = {"strategy": {"Fixed": 10}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}
    write(OUT / "siglip2_left", "tokenizer.json", hub_json(vocab, merges, padding=padding))
    write(OUT / "siglip2_left", "tokenizer_config.json", left)
    write(OUT / "siglip2_left", "config.json", plain)

    lower = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    write(OUT / "plain", "tokenizer.json", hub_json(vocab, merges, normalizer=lower))
    write(OUT / "plain", "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "mask_token": "<brand new>"})
    write(OUT / "plain", "config.json", plain)

    for name in ("siglip2", "siglip2_hub", "siglip2_hub_naflex", "siglip2_left", "plain"):
        expected(OUT / name, all_texts)
    siglip1(OUT / "siglip1", all_texts)
    siglip1_spiece(OUT / "siglip1_spiece", all_texts)
    print(len(all_texts), "texts,", sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file()), "bytes")


if __name__ == "__main__":
    main()
