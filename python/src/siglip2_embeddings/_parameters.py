"""What both clients are made with, in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import httpx

from ._calls import Call
from ._results import Info
from ._retry import Attempts
from ._services import Services

Transport = TypeVar("Transport", httpx.BaseTransport, httpx.AsyncBaseTransport)


class Parameters(ABC, Generic[Transport]):
    """The parameters of a client, whose kind of transport is given."""

    def __init__(
        self,
        url: str | Sequence[str] = "http://localhost:8091",
        *,
        key: str | None = None,
        timeout: float = 60.0,
        retries: int | None = 8,
        expect_fingerprint: str | None = None,
        concurrency: int = 4,
        text_batch: int = 256,
        image_batch: int = 32,
        transport: Transport | None = None,
    ) -> None:
        self._services = Services(url, expect_fingerprint)
        self._timeout, self._retries = timeout, retries
        self._concurrency = concurrency
        self._text_batch, self._image_batch = text_batch, image_batch
        self._info: Info | None = None
        kept = concurrency * len(self._services)
        self._open(
            transport,
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=kept),
        )

    @abstractmethod
    def _open(self, transport: Transport | None, **of_httpx: Any) -> None:
        """Opens httpx's client of this kind, and what else `concurrency` requests need."""

    def _attempts(self, call: Call) -> Attempts:
        return Attempts(call, self._services, self._timeout, self._retries)
