"""What the forms of a vector cost in recall: docs/vectors.md has the table that this prints.

    python tools/measure_forms.py http://127.0.0.1:8091

Asks a service with the demo model for the vectors of some thousand sentences about drawn
shapes, and makes 20,000 random vectors of 768 floats in 200 clusters. For 300 of each it compares
the 10 nearest by a form with the 10 nearest by f32. Needs numpy.
"""

import json
import random
import sys
import urllib.request

import numpy as np

COLOURS = "red green blue yellow orange purple black white pink brown".split()
SHAPES = "circle square triangle star ring diamond cross heart".split()
COUNTS = ["a", "two", "three", "four"]


def sentences(count):
    draw = random.Random(7)
    plural = {"a": ""}
    one = [
        f"{number} {colour} {shape}{plural.get(number, 's')}"
        for number in COUNTS
        for colour in COLOURS
        for shape in SHAPES
    ]
    pairs = [f"{draw.choice(one)} and {draw.choice(one)}" for _ in range(count - len(one))]
    return list(dict.fromkeys(one + pairs))


def embedded(url, texts):
    rows = []
    for at in range(0, len(texts), 500):
        body = json.dumps({"texts": texts[at : at + 500]}).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/octet-stream"}
        with urllib.request.urlopen(urllib.request.Request(url + "/embed/text", body, headers)) as answer:
            shape = [int(side) for side in answer.headers["X-Embedding-Shape"].split(",")]
            rows.append(np.frombuffer(answer.read(), "<f4").reshape(shape))
    return np.concatenate(rows)


def clusters():
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(200, 768))
    rows = centres[draw.integers(0, 200, 20_000)] + draw.normal(size=(20_000, 768))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def report(name, rows):
    queries = np.random.default_rng(1).choice(len(rows), 300, replace=False)

    def nearest(vectors, count=10):
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = vectors[queries] @ vectors.T
        scores[np.arange(len(queries)), queries] = -np.inf
        return np.argsort(-scores, axis=1, kind="stable")[:, :count]

    exact = nearest(rows)

    def recall(found):
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found)])

    int8 = np.round(rows * 127 / np.abs(rows).max(axis=1, keepdims=True))
    # Equal up to a constant to the Hamming distance of the bits.
    signs = np.where(rows > 0, 1.0, -1.0)
    found = nearest(signs, 100)
    ordered = [some[np.argsort(-(rows[some] @ rows[at]), kind="stable")[:10]] for at, some in zip(queries, found)]
    print(f"{name}: {rows.shape[0]} rows of {rows.shape[1]}")
    for form, result in [
        ("float16", nearest(rows.astype(np.float16).astype(np.float32))),
        ("int8, uint8", nearest(int8)),
        ("binary, ubinary", nearest(signs)),
        ("the 100 nearest by bits, ordered by f32", ordered),
    ]:
        print(f"  {form}: {recall(result):.3f}")


report("the demo model", embedded(sys.argv[1], sentences(3000)))
report("random vectors", clusters())
