"""What the clients answer besides rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Info:
    """What the service runs."""

    model: str
    """The model's name."""
    device: str
    """`cpu` or `cuda`."""
    precision: str
    """What products are computed in: `fp32`, `bf16`, `int8`, `fp16` or `fp8`."""
    dimensions: int
    """Numbers of a row."""
    fingerprint: str | None
    """Of the space of normalized vectors. Vectors of other fingerprints are not comparable."""
    logit_scale: float
    """A natural logarithm."""
    logit_bias: float
    version: str
    """Of the service."""
    max_texts_per_request: int
    max_images_per_request: int
    raw: dict[str, Any] = field(repr=False, compare=False)
    """The whole answer of /info."""

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Info:
        """Reads the answer of /info."""
        limits = answer["limits"]
        return cls(
            model=answer["model"],
            device=answer["device"],
            precision=answer["precision"],
            dimensions=answer["text_dim"],
            fingerprint=answer["fingerprint"],
            logit_scale=answer["logit_scale"],
            logit_bias=answer["logit_bias"],
            version=answer["version"],
            max_texts_per_request=limits["max_texts_per_request"],
            max_images_per_request=limits["max_images_per_request"],
            raw=answer,
        )

    def scores(self, texts: npt.ArrayLike, images: npt.ArrayLike) -> Scores:
        """How well rows of texts and rows of images belong together, both normalized."""
        left = np.atleast_2d(np.asarray(texts, np.float32))
        right = np.atleast_2d(np.asarray(images, np.float32))
        cosines = left.astype(np.float64) @ right.astype(np.float64).T
        logits = np.exp(self.logit_scale) * cosines + self.logit_bias
        return Scores(cosines, logits, 1 / (1 + np.exp(-logits)))


@dataclass(frozen=True)
class Scores:
    """A row for each text, and in it a number for each image."""

    cosines: npt.NDArray[np.float64]
    logits: npt.NDArray[np.float64]
    """`exp(logit_scale) * cosine + logit_bias`"""
    probabilities: npt.NDArray[np.float64]
    """That text and image belong together: the sigmoid of the logit. Low ones can be good: what
    counts is their order."""


@dataclass(frozen=True)
class Ranked:
    """An image's place in a ranking."""

    index: int
    """Its place among the images that were given."""
    score: float
    """The probability that the text belongs to it."""
    cosine: float


@dataclass(frozen=True)
class Label:
    """How well a label fits an image."""

    label: str
    score: float
    cosine: float
