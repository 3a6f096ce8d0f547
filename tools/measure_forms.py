"""What the forms of a vector cost in recall: docs/vectors.md has the table that this prints.

    python tools/measure_forms.py http://127.0.0.1:8091

Asks a service with the demo model for 1,000 sentences and 1,000 drawn pictures, in every form as it
writes them itself, and makes random vectors of 768 floats in clusters. For each sentence it compares
the nearest picture by a form with the nearest by f32, and the 10 nearest with the 10 nearest.
Needs numpy and Pillow.
"""

import io
import json
import random
import struct
import sys
import urllib.request

import demo_scenes
import numpy as np

COUNT = 1000
DTYPES = {"float32": "<f4", "float16": "<f2", "int8": "i1", "binary": "u1"}


def sentences():
    draw = random.Random(7)
    plural = {"one": ""}
    one = [
        f"{count} {colour} {shape}{plural.get(count, 's')}"
        for count in demo_scenes.COUNTS
        for colour in demo_scenes.COLOURS
        for shape in demo_scenes.SHAPES
    ]
    found = dict.fromkeys(one)
    while len(found) < COUNT:
        found[f"{draw.choice(one)} on a {draw.choice(list(demo_scenes.BACKGROUNDS))} background"] = None
    return list(found)[:COUNT]


def pictures():
    draw = random.Random(8)
    for scene in draw.sample(demo_scenes.scenes(), COUNT):
        file = io.BytesIO()
        demo_scenes.draw(scene, draw, 160, 160).save(file, "PNG")
        yield file.getvalue()


def asked(url, body, kind, dtype):
    """The rows of a request, as numpy reads them."""
    headers = {"Content-Type": kind, "Accept": f"application/octet-stream;dtype={dtype}"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        assert answer.headers["X-Embedding-Dtype"] == dtype
        shape = [int(side) for side in answer.headers["X-Embedding-Shape"].split(",")]
        return np.frombuffer(answer.read(), DTYPES[dtype]).reshape(shape)


def of_the_service(url):
    """Sentences and pictures, by form."""
    texts, files = sentences(), list(pictures())
    forms = {}
    for dtype in DTYPES:
        rows = [
            asked(url + "/embed/text", json.dumps({"texts": texts[at : at + 500]}).encode(), "application/json", dtype)
            for at in range(0, COUNT, 500)
        ]
        packed = [
            b"".join(struct.pack("<I", len(file)) + file for file in files[at : at + 100])
            for at in range(0, COUNT, 100)
        ]
        of_files = [asked(url + "/embed/images", body, "application/octet-stream", dtype) for body in packed]
        forms[dtype] = np.concatenate(rows), np.concatenate(of_files)
    return forms


def clusters(count):
    """Random vectors, by form: rows that are asked for, and rows to find."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(200, 768))

    def rows(count):
        rows = centres[draw.integers(0, 200, count)] + draw.normal(size=(count, 768))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    both = rows(COUNT), rows(count)

    def int8(rows):
        return np.round(rows * 127 / np.abs(rows).max(axis=1, keepdims=True))

    forms = {
        "float32": lambda rows: rows,
        "float16": lambda rows: rows.astype(np.float16),
        "int8": int8,
        "binary": lambda rows: np.packbits(rows > 0, axis=1),
    }
    return {dtype: tuple(map(form, both)) for dtype, form in forms.items()}


def nearest(queries, rows, is_bits, count):
    if is_bits:
        # Equal up to a constant to the Hamming distance.
        queries, rows = (np.unpackbits(bits, axis=1) * 2.0 - 1 for bits in (queries, rows))
    queries, rows = (
        part.astype(np.float32) / np.linalg.norm(part.astype(np.float32), axis=1, keepdims=True)
        for part in (queries, rows)
    )
    return np.argsort(-(queries @ rows.T), axis=1, kind="stable")[:, :count]


def report(name, forms):
    queries, rows = forms["float32"]
    exact = nearest(queries, rows, False, 10)
    print(f"{name}: {len(queries)} of {len(rows)} rows of {rows.shape[1]}: top-1, top-10")

    def line(form, found):
        first = np.mean(found[:, 0] == exact[:, 0])
        ten = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found)])
        print(f"  {form}: {first:.3f}, {ten:.3f}")

    for dtype in ("float16", "int8", "binary"):
        line(dtype, nearest(*forms[dtype], dtype == "binary", 10))
    bits = nearest(*forms["binary"], True, 100)
    line(
        "the 100 nearest by bits, ordered by f32",
        np.array([some[np.argsort(-(rows[some] @ query), kind="stable")[:10]] for query, some in zip(queries, bits)]),
    )


report("the demo model", of_the_service(sys.argv[1]))
report("random vectors", clusters(1000))
report("more random vectors", clusters(20_000))
