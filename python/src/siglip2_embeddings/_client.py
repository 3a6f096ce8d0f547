"""The client for programs that wait."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
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


class Client(Parameters[httpx.BaseTransport]):
    """A client of the service at `url`, or of several services with the same model. It may be used by
    several threads, and is closed by `close` or as a context manager.

    `key` is sent if the services ask for one. `timeout` is in seconds and for one request with all
    its retries. A service that is full or starting (429, 502, 503, 504) or that was lost is asked
    again as its `Retry-After` says, `retries` times at most, or with None until the time is up.

    Of several services each request goes to another one in turn. One that refuses or is lost is left
    for the next one at once; only when all have refused is there a pause.

    With `expect_fingerprint` nothing is computed by another model than that: of several services,
    those that have another are left out. Without it they must agree with the one that answers first.

    `concurrency` requests are under way at a time, to all services together; a list is sent in groups
    of `text_batch` texts and `image_batch` images (and 32 MiB). `transport` is httpx's.
    """

    def _open(self, transport: httpx.BaseTransport | None, **of_httpx: Any) -> None:
        self._http = httpx.Client(transport=transport, **of_httpx)
        self._threads = ThreadPoolExecutor(self._concurrency, "siglip2")

    def close(self) -> None:
        """Closes the connections."""
        self._threads.shutdown(cancel_futures=True)
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def info(self) -> Info:
        """What the service runs, or one of the services; asked for anew each time."""
        self._info = _calls.info_of(self._send(_calls.INFO))
        return self._info

    def fingerprint(self) -> str:
        """What normalized vectors of the service can be compared with, for `expect_fingerprint` and
        to be kept beside the vectors. Unlike that of `info` it is there always: a service that is
        starting is waited for."""
        return _calls.fingerprint_of(self._send(_calls.NO_IMAGES))

    def embed_texts(
        self, texts: Iterable[str], *, normalize: bool = True, truncate: bool = True
    ) -> FloatArray:
        """A row for each text, in their order. A text of more tokens than the model reads is cut,
        or with `truncate=False` refused (413)."""
        return self._rows(
            _calls.text_batches(texts, self._text_batch),
            lambda batch: _calls.embed_texts(batch, normalize, truncate),
        )

    def embed_images(
        self, images: Iterable[Image], *, normalize: bool = True, partial: bool = False
    ) -> FloatArray:
        """A row for each image, in their order. With `partial` the row of an image that cannot be
        decoded is NaN; without, it raises. Images are read as they are sent, so `images` may be a
        generator over more than fit into memory."""
        return self._rows(
            _calls.image_batches(images, self._image_batch),
            lambda batch: _calls.embed_images(batch, normalize, partial),
        )

    def similarity(self, texts: Iterable[str], images: Iterable[Image]) -> Scores:
        """How well each text and each image belong together."""
        return self._known().scores(self.embed_texts(texts), self.embed_images(images))

    def rank(self, text: str, images: Iterable[Image], *, top: int | None = None) -> list[Ranked]:
        """The images that a text belongs to, best first."""
        return _calls.ranked(self.similarity([text], images), top)

    def classify(
        self,
        images: Iterable[Image],
        labels: Sequence[str],
        *,
        templates: Sequence[str] = _calls.TEMPLATES,
        softmax: bool = False,
    ) -> list[list[Label]]:
        """The labels of each image, best first (zero-shot). The vectors of several templates are
        averaged. With `softmax` the scores of an image add up to 1."""
        answers = self._each(
            _calls.image_batches(images, self._image_batch),
            lambda batch: _calls.classify(batch, labels, templates, softmax),
            _calls.labels_of,
        )
        return [image for answer in answers for image in answer]

    def _known(self) -> Info:
        return self._info or self.info()

    def _rows(self, batches: Iterator[B], call: Callable[[B], Call]) -> FloatArray:
        rows = list(self._each(batches, call, _calls.rows_of))
        return _calls.joined(rows) if rows else _calls.no_rows(self._known())

    def _each(
        self,
        batches: Iterator[B],
        call: Callable[[B], Call],
        read: Callable[[httpx.Response], R],
    ) -> Iterator[R]:
        """Sends the groups, a few at a time; what the answers say, in the order of the groups."""
        under_way: deque[Future[R]] = deque()
        offset = 0

        def one(request: Call, offset: int) -> R:
            try:
                return read(self._send(request))
            except ServiceError as error:
                error.begins_at(offset)
                raise

        try:
            for batch in batches:
                if len(under_way) == self._concurrency:
                    yield under_way.popleft().result()
                under_way.append(self._threads.submit(one, call(batch), offset))
                offset += len(batch)
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    def _send(self, call: Call) -> httpx.Response:
        attempts = self._attempts(call)
        while True:
            try:
                answer = self._http.send(attempts.request(self._http))
                pause = attempts.pause_after_answer(answer)
                if pause is None:
                    return answer
            except httpx.TransportError as failure:
                pause = attempts.pause_after_failure(failure)
            if pause:
                time.sleep(pause)
