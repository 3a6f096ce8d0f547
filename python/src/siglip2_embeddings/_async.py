"""The client for programs on asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from types import TracebackType
from typing import Any, TypeVar

import httpx

from . import _calls
from ._calls import Call
from ._errors import ServiceError
from ._images import Image
from ._parameters import Parameters
from ._results import FloatArray, Info, Label, Ranked, Scores

B = TypeVar("B", bound=Sized)
R = TypeVar("R")


class AsyncClient(Parameters[httpx.AsyncBaseTransport]):
    """As `Client`, with the same parameters; `close` is `aclose`, and `transport` is httpx's for
    asyncio. Files are read on threads of their own."""

    def _open(self, transport: httpx.AsyncBaseTransport | None, **of_httpx: Any) -> None:
        self._http = httpx.AsyncClient(transport=transport, **of_httpx)
        self._places = asyncio.Semaphore(self._concurrency)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def info(self) -> Info:
        """As `Client.info`."""
        self._info = _calls.info_of(await self._send(_calls.INFO))
        return self._info

    async def fingerprint(self) -> str:
        """As `Client.fingerprint`."""
        return _calls.fingerprint_of(await self._send(_calls.NO_IMAGES))

    async def embed_texts(
        self, texts: Iterable[str], *, normalize: bool = True, truncate: bool = True
    ) -> FloatArray:
        """As `Client.embed_texts`."""
        return await self._rows(
            _calls.text_batches(texts, self._text_batch),
            lambda batch: _calls.embed_texts(batch, normalize, truncate),
        )

    async def embed_images(
        self, images: Iterable[Image], *, normalize: bool = True, partial: bool = False
    ) -> FloatArray:
        """As `Client.embed_images`."""
        return await self._rows(
            _calls.image_batches(images, self._image_batch),
            lambda batch: _calls.embed_images(batch, normalize, partial),
        )

    async def similarity(self, texts: Iterable[str], images: Iterable[Image]) -> Scores:
        """As `Client.similarity`."""
        of_texts, of_images = await asyncio.gather(
            self.embed_texts(texts), self.embed_images(images)
        )
        return (await self._known()).scores(of_texts, of_images)

    async def rank(
        self, text: str, images: Iterable[Image], *, top: int | None = None
    ) -> list[Ranked]:
        """As `Client.rank`."""
        return _calls.ranked(await self.similarity([text], images), top)

    async def classify(
        self,
        images: Iterable[Image],
        labels: Sequence[str],
        *,
        templates: Sequence[str] = _calls.TEMPLATES,
        softmax: bool = False,
    ) -> list[list[Label]]:
        """As `Client.classify`."""
        answers = await self._each(
            _calls.image_batches(images, self._image_batch),
            lambda batch: _calls.classify(batch, labels, templates, softmax),
            _calls.labels_of,
        )
        return [image for answer in answers for image in answer]

    async def _known(self) -> Info:
        return self._info or await self.info()

    async def _rows(self, batches: Iterator[B], call: Callable[[B], Call]) -> FloatArray:
        rows = await self._each(batches, call, _calls.rows_of)
        return _calls.joined(rows) if rows else _calls.no_rows(await self._known())

    async def _each(
        self,
        batches: Iterator[B],
        call: Callable[[B], Call],
        read: Callable[[httpx.Response], R],
    ) -> list[R]:
        """Sends the groups, a few at a time; what the answers say, in the order of the groups."""
        answers: list[R] = []
        under_way: deque[asyncio.Task[R]] = deque()

        offset = 0

        async def one(request: Call, offset: int) -> R:
            async with self._places:
                try:
                    return read(await self._send(request))
                except ServiceError as error:
                    error.begins_at(offset)
                    raise

        try:
            while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                if len(under_way) == self._concurrency:
                    answers.append(await under_way.popleft())
                under_way.append(asyncio.create_task(one(call(batch), offset)))
                offset += len(batch)
            while under_way:
                answers.append(await under_way.popleft())
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        return answers

    async def _send(self, call: Call) -> httpx.Response:
        attempts = self._attempts(call)
        while True:
            try:
                answer = await self._http.send(attempts.request(self._http))
                pause = attempts.pause_after_answer(answer)
                if pause is None:
                    return answer
            except httpx.TransportError as failure:
                pause = attempts.pause_after_failure(failure)
            if pause:
                await asyncio.sleep(pause)
