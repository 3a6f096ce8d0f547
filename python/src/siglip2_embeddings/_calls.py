"""Requests and answers, without any input or output: both clients send these.

Rows come as bytes (`Accept: application/octet-stream`), and images go as bytes behind their lengths:
docs/vectors.md of the service has both forms.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import httpx
import numpy as np

from ._errors import FingerprintMismatch, ServiceError, SiglipError
from ._images import Image, file_of
from ._results import FloatArray, Info, Label, Ranked, Scores

BYTES = "application/octet-stream"
FINGERPRINT = "X-Embedding-Fingerprint"
TEMPLATES = ("This is a photo of {}.",)

BATCH_BYTES = 32 << 20
"""Files of images in one request, unless a single one is larger."""


@dataclass(frozen=True)
class Call:
    """A request."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    data: dict[str, str] | None = None
    files: list[tuple[str, tuple[str, bytes]]] | None = None
    normalized: bool = True
    """Whether it asks for normalized vectors, which have another fingerprint than the others."""


INFO = Call("GET", "/info")


def embed_texts(texts: Sequence[str], normalize: bool, truncate: bool) -> Call:
    """Rows of texts."""
    body = json.dumps({"texts": list(texts), "normalize": normalize, "truncate": truncate})
    headers = {"Content-Type": "application/json", "Accept": BYTES}
    return Call("POST", "/embed/text", headers, body.encode(), normalized=normalize)


def embed_images(files: Sequence[bytes], normalize: bool, partial: bool) -> Call:
    """Rows of images."""
    body = b"".join(chain.from_iterable((struct.pack("<I", len(file)), file) for file in files))
    flags = f"normalize={json.dumps(normalize)}&partial={json.dumps(partial)}"
    headers = {"Content-Type": BYTES, "Accept": BYTES}
    return Call("POST", f"/embed/images?{flags}", headers, body, normalized=normalize)


NO_IMAGES = embed_images([], normalize=True, partial=False)
"""Is answered with a fingerprint as soon as the service can embed."""


def classify(
    files: Sequence[bytes], labels: Sequence[str], templates: Sequence[str], softmax: bool
) -> Call:
    """Scores of labels for images."""
    data = {
        "labels": json.dumps(list(labels)),
        "hypothesis_templates": json.dumps(list(templates)),
        "activation": "softmax" if softmax else "sigmoid",
    }
    parts = [("files", (str(place), file)) for place, file in enumerate(files)]
    return Call("POST", "/classify", data=data, files=parts)


def rows_of(answer: httpx.Response) -> FloatArray:
    """The rows of an answer."""
    try:
        count, dimensions = map(int, answer.headers["X-Embedding-Shape"].split(","))
        rows = np.frombuffer(answer.content, "<f4").reshape(count, dimensions)
    except (KeyError, ValueError) as error:
        raise SiglipError(
            f"{answer.request.url} answered something other than rows of float32: is it a "
            "siglip2-embeddings service?"
        ) from error
    return rows.astype(np.float32, copy=False)


def labels_of(answer: httpx.Response) -> list[list[Label]]:
    """The labels of every image, best first."""
    return [
        [Label(score["label"], score["score"], score["cosine"]) for score in image["scores"]]
        for image in _json(answer)["results"]
    ]


def info_of(answer: httpx.Response) -> Info:
    """The answer of /info."""
    try:
        return Info.of(_json(answer))
    except (KeyError, TypeError) as error:
        raise SiglipError(
            f"{answer.request.url} does not answer as siglip2-embeddings does: {error} is missing"
        ) from error


def fingerprint_of(answer: httpx.Response) -> str:
    """The fingerprint of an answer's vectors."""
    found: str | None = answer.headers.get(FINGERPRINT)
    if found is None:
        raise SiglipError(
            f"{_place(answer)} answered without a fingerprint: it is no siglip2-embeddings service, "
            "or its engine was built by an old version of build-engine"
        )
    return found


def described_fingerprints(answer: httpx.Response) -> set[str]:
    """The fingerprints that an answer of /info has, of normalized and other vectors: none while the
    model is loaded."""
    described = _json(answer)
    if not isinstance(described, dict):
        return set()
    both = described.get("fingerprint"), described.get("fingerprint_pooled")
    return {fingerprint for fingerprint in both if fingerprint}


def _place(answer: httpx.Response) -> httpx.URL:
    return answer.request.url.copy_with(query=None)


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise SiglipError(f"{answer.request.url} answered something other than JSON") from error


def refusal_of(answer: httpx.Response) -> ServiceError:
    """What a refusal says."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text[:500] or answer.reason_phrase
    if isinstance(detail, list):
        # 422: what is wrong with each field.
        detail = "; ".join(
            f"{'.'.join(map(str, item.get('loc', [])))}: {item.get('msg', '')}" for item in detail
        )
    return error_of(answer, answer.status_code, str(detail))


def error_of(answer: httpx.Response, status: int, detail: str) -> ServiceError:
    """The error of an answer that is not taken, with the service's sentence or with ours."""
    kind = FingerprintMismatch if status == 412 else ServiceError
    return kind(status, detail, answer.headers.get("X-Request-Id"), str(_place(answer)))


def text_batches(texts: Iterable[str], most: int) -> Iterator[list[str]]:
    """Texts in groups for one request each."""
    if isinstance(texts, str):
        raise TypeError("texts is a list of strings, and this is one string")
    rest = iter(texts)
    while batch := list(islice(rest, most)):
        yield batch


def image_batches(images: Iterable[Image], most: int) -> Iterator[list[bytes]]:
    """The files of images in groups for one request each: read when they are asked for, so that
    only those under way are held."""
    if isinstance(images, (str, bytes)):
        raise TypeError("images is a list of images, and this is one image")
    batch: list[bytes] = []
    size = 0
    for image in images:
        file = file_of(image)
        if batch and (len(batch) == most or size + len(file) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += len(file)
    if batch:
        yield batch


def joined(batches: Sequence[FloatArray]) -> FloatArray:
    """The rows of all requests."""
    return batches[0] if len(batches) == 1 else np.concatenate(batches)


def no_rows(info: Info) -> FloatArray:
    """The rows of nothing."""
    return np.empty((0, info.dimensions), np.float32)


def ranked(scores: Scores, top: int | None) -> list[Ranked]:
    """The images in the order of the first text's scores; equal ones in the order given."""
    cosines, probabilities = scores.cosines[0], scores.probabilities[0]
    order = np.argsort(-cosines, kind="stable")[:top]
    return [Ranked(int(place), float(probabilities[place]), float(cosines[place])) for place in order]
