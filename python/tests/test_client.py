"""The clients against the service with the demo model."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import KEY
from PIL import Image as PillowImage

from siglip2_embeddings import (
    AsyncClient,
    Client,
    FingerprintMismatch,
    Image,
    ImageError,
    Server,
    ServiceError,
)


def plain_rows(server: Server, texts: list[str], normalize: bool = True) -> Any:
    """What the service answers as JSON, without the package."""
    body = json.dumps({"texts": texts, "normalize": normalize}).encode()
    headers = {"Content-Type": "application/json", "X-API-Key": KEY}
    request = urllib.request.Request(f"{server.url}/embed/text", body, headers)
    with urllib.request.urlopen(request) as answer:
        return np.array(json.load(answer)["embeddings"], np.float32)


def test_rows_of_texts_are_those_of_the_json_answer(server: Server, client: Client) -> None:
    texts = ["a red circle", "", "three blue stars", "ein roter Kreis"]
    rows = client.embed_texts(texts)
    assert rows.dtype == np.float32 and rows.shape == (4, 96)
    assert np.array_equal(rows, plain_rows(server, texts))
    pooled = client.embed_texts(texts, normalize=False)
    assert np.array_equal(pooled, plain_rows(server, texts, normalize=False))
    assert not np.allclose(np.linalg.norm(pooled, axis=1), 1)


def test_many_groups_come_back_in_their_order(server: Server) -> None:
    texts = [f"{number} red circles" for number in range(50)]
    with Client(server.url, key=KEY, text_batch=7, concurrency=3) as client:
        assert np.array_equal(client.embed_texts(iter(texts)), plain_rows(server, texts))


def test_an_image_is_the_same_in_every_form(client: Client, samples: list[Path]) -> None:
    path = samples[0]
    with PillowImage.open(path) as opened:
        rgb = opened.convert("RGB")
    pixels = np.asarray(rgb)
    forms: list[Image] = [path, str(path), path.read_bytes(), bytearray(path.read_bytes())]
    forms += [memoryview(path.read_bytes()), rgb, pixels, pixels[:, ::-1][:, ::-1]]
    rows = client.embed_images(forms)
    assert rows.shape == (8, 96)
    assert all(np.array_equal(row, rows[0]) for row in rows)


def test_odd_widths_greys_and_modes_are_pillows_pixels(client: Client) -> None:
    random = np.random.default_rng(1)
    for width in (1, 2, 3, 5):
        rgb = random.integers(0, 256, (4, width, 3), np.uint8)
        grey = rgb[:, :, 0]
        palette = PillowImage.fromarray(rgb).convert("P")
        pairs: list[tuple[Image, Image]] = [
            (rgb, PillowImage.fromarray(rgb)),
            (grey, PillowImage.fromarray(grey)),
            (np.asarray(palette.convert("RGB")), palette),
        ]
        for left, right in pairs:
            rows = client.embed_images([left, right])
            assert np.array_equal(rows[0], rows[1])


def test_what_is_no_image_is_named(client: Client, tmp_path: Path) -> None:
    for wrong, said in [
        (tmp_path / "none.png", "none.png"),
        (np.zeros((4, 4, 4), np.uint8), "4 x 4 x 4"),
        (np.zeros((4, 4), np.float32), "float32"),
        (7, "int"),
    ]:
        with pytest.raises(ImageError, match=said):
            client.embed_images([wrong])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        client.embed_images("a.png")
    with pytest.raises(TypeError):
        client.embed_texts("a red circle")


def test_a_bad_image_fails_the_call_or_costs_its_row(
    server: Server, client: Client, samples: list[Path]
) -> None:
    images: list[Image] = [samples[0], b"not a picture", samples[1]]
    with pytest.raises(ServiceError) as refused:
        client.embed_images(images)
    assert refused.value.status in (400, 415) and "files[1]" in refused.value.detail
    assert refused.value.request_id and refused.value.offset == 0
    # Which item of the list it was, whatever request it went in.
    with Client(server.url, key=KEY, image_batch=1) as other:
        with pytest.raises(ServiceError, match=r"files\[0\].* \(counted from item 1 of the list\)$") as refused:
            other.embed_images(images)
    assert refused.value.offset == 1
    rows = client.embed_images(images, partial=True)
    assert np.isnan(rows[1]).all()
    assert np.array_equal(rows[[0, 2]], client.embed_images([samples[0], samples[1]]))


def test_scores_are_the_services(server: Server, client: Client, samples: list[Path]) -> None:
    found = client.rank("three blue stars", samples, top=3)
    assert [samples[ranked.index].stem for ranked in found][0] == "three-blue-stars"
    assert len(found) == 3 and found[0].score > 0.1 > found[1].score
    texts = ["a red circle", "three blue stars"]
    scores = client.similarity(texts, samples)
    assert scores.probabilities.shape == (2, 8)
    boundary = "aBoundary"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="details"\r\n\r\ntrue\r\n'.encode()]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="texts"\r\n\r\n'
        f"{json.dumps(texts)}\r\n".encode()
    )
    for path in samples:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        parts.append(head.encode() + path.read_bytes() + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "X-API-Key": KEY}
    request = urllib.request.Request(f"{server.url}/similarity", body, headers)
    with urllib.request.urlopen(request) as answer:
        expected = json.load(answer)
    assert np.allclose(scores.probabilities, expected["similarities"], rtol=1e-5)
    assert np.allclose(scores.cosines, expected["cosines"], atol=1e-6)
    assert np.allclose(scores.logits, expected["logits"], atol=1e-4)


def test_labels_come_best_first(client: Client, samples: list[Path]) -> None:
    labels = ["red circle", "three blue stars", "black diamond"]
    found = client.classify(samples, labels, templates=["{}", "a picture of a {}"])
    assert len(found) == 8
    best = {path.stem: image[0].label for path, image in zip(samples, found)}
    assert best["red-circle"] == "red circle" and best["black-diamond"] == "black diamond"
    assert all(a.score >= b.score for image in found for a, b in zip(image, image[1:]))
    together = client.classify(samples[:1], labels, softmax=True)[0]
    assert sum(label.score for label in together) == pytest.approx(1)


def test_nothing_has_no_rows(client: Client) -> None:
    assert client.embed_texts([]).shape == client.embed_images([]).shape == (0, 96)
    assert client.rank("a red circle", []) == [] and client.classify([], ["a"]) == []


def test_a_generator_is_read_as_it_is_sent(server: Server, samples: list[Path]) -> None:
    read, embedded = 0, 0

    def endless() -> Iterator[Path]:
        nonlocal read
        while True:
            read += 1
            yield samples[read % 8]

    with Client(server.url, key=KEY, image_batch=4, concurrency=2) as client:
        answers = client._each(
            *_batches(endless()),
        )
        for rows in answers:
            embedded += len(rows)
            # Two groups under way, one that is put together, and the image after it.
            assert read <= embedded + 4 * 3 + 1
            if embedded >= 40:
                break
        answers.close()  # type: ignore[attr-defined]


def _batches(images: Iterator[Path]) -> Any:
    from siglip2_embeddings import _calls

    return (
        _calls.image_batches(images, 4),
        lambda batch: _calls.embed_images(batch, True, False),
        _calls.rows_of,
    )


def test_the_fingerprint_is_held_to(server: Server, client: Client) -> None:
    fingerprint = client.info().fingerprint
    with Client(server.url, key=KEY, expect_fingerprint=fingerprint) as same:
        assert same.embed_texts(["a"]).shape == (1, 96)
    with Client(server.url, key=KEY, expect_fingerprint="0" * 16) as other:
        with pytest.raises(FingerprintMismatch):
            other.embed_texts(["a"])


def test_a_wrong_key_is_refused_at_once(server: Server) -> None:
    with Client(server.url, key="another") as client:
        with pytest.raises(ServiceError, match="401"):
            client.embed_texts(["a"])


def test_fields_that_are_wrong_are_named(client: Client) -> None:
    with pytest.raises(ServiceError, match=r"422: body\.texts"):
        client.embed_texts([7])  # type: ignore[list-item]


def test_on_asyncio_all_is_the_same(server: Server, client: Client, samples: list[Path]) -> None:
    texts = [f"{number} red circles" for number in range(20)]
    images: list[Image] = [*samples, b"not a picture"]

    async def together() -> None:
        async with AsyncClient(server.url, key=KEY, text_batch=3, image_batch=2) as other:
            rows, pictures = await asyncio.gather(
                other.embed_texts(texts), other.embed_images(images, partial=True)
            )
            assert np.array_equal(rows, client.embed_texts(texts))
            expected = client.embed_images(images, partial=True)
            assert np.array_equal(pictures, expected, equal_nan=True)
            assert await other.rank("a red circle", samples, top=2) == client.rank(
                "a red circle", samples, top=2
            )
            labels = ["red circle", "star"]
            assert await other.classify(samples, labels) == client.classify(samples, labels)
            assert await other.info() == client.info()
            assert (await other.embed_texts([])).shape == (0, 96)
            with pytest.raises(ServiceError, match="files") as refused:
                await other.embed_images(images)
            assert refused.value.offset == 8

    asyncio.run(together())
