"""SigLIP 2 embeddings of images and texts, from a running siglip2-embeddings service.

>>> from siglip2_embeddings import Client                                    # doctest: +SKIP
>>> with Client("http://localhost:8091") as client:                          # doctest: +SKIP
...     rows = client.embed_images(["a.jpg", "b.jpg"])     # float32, one row for each image
...     best = client.rank("a red bicycle", ["a.jpg", "b.jpg"])[0]
"""

from ._async import AsyncClient
from ._client import Client
from ._errors import (
    FingerprintMismatch,
    ImageError,
    ServiceError,
    SiglipError,
    Unreachable,
)
from ._images import Image
from ._results import Info, Label, Ranked, Scores
from .server import Server, find_binary, serve

__all__ = [
    "AsyncClient",
    "Client",
    "FingerprintMismatch",
    "Image",
    "ImageError",
    "Info",
    "Label",
    "Ranked",
    "Scores",
    "Server",
    "ServiceError",
    "SiglipError",
    "Unreachable",
    "find_binary",
    "serve",
]
