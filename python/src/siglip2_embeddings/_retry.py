"""When a request is sent again, where to, and after how long.

Embedding changes nothing in a service, so every request may be sent twice.
"""

from __future__ import annotations

import random
from time import monotonic

import httpx

from ._calls import Call, refusal_of
from ._errors import FingerprintMismatch, SiglipError, Unreachable
from ._services import Service, Services, backoff

LATER = (429, 502, 503, 504)
"""Full, starting, draining, too slow at the moment, or a proxy without a service."""

CONNECT = 5.0
"""Seconds after which a service that takes no connection is gone."""


class Attempts:
    """The attempts at one request, until its time is up.

    Each is at the service that may be asked soonest (`Services.choose`). One that has not failed this
    request may be asked at once.
    """

    def __init__(self, call: Call, services: Services, timeout: float, retries: int | None) -> None:
        """`timeout` is for all attempts together, and for the pauses between them."""
        self._call = call
        self._services = services
        self._timeout = timeout
        self._retries = retries
        self._began = monotonic()
        self._due = {service: (0.0, 0) for service in services}
        """When each may be asked, and how often it has failed; without those that are given up."""
        self._service, _ = services.choose(self._due)

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request for the service whose turn it is. It is told how long the answer is waited
        for, and leaves work undone that nobody waits for any more."""
        left = max(self._left(), 0.001)
        headers = {**self._call.headers, "X-Request-Timeout-Ms": str(max(1, int(left * 1000)))}
        expected = self._services.expected(self._call)
        if expected is not None:
            headers["X-Expect-Fingerprint"] = expected
        return http.build_request(
            self._call.method,
            self._service.url + self._call.path,
            headers=headers,
            content=self._call.content,
            data=self._call.data,
            files=self._call.files,
            timeout=httpx.Timeout(left, connect=min(left, CONNECT)),
        )

    def pause_after_answer(self, answer: httpx.Response) -> float | None:
        """None if this is the answer; otherwise how long to wait, which is 0 if there is another
        service to ask. What no service would do is raised."""
        if answer.is_success:
            error = self._services.other_vectors(self._call, answer)
        else:
            error = refusal_of(answer)
        if error is not None and error.status in LATER:
            return self._again(error, _seconds(answer.headers.get("Retry-After")))
        if isinstance(error, FingerprintMismatch):
            del self._due[self._service]
            if len(self._services) > 1:
                self._service.leave_out(error)
            return self._next(error)
        self._service.answered()
        if error is not None:
            raise error
        return None

    def pause_after_failure(self, failure: httpx.TransportError) -> float:
        """How long to wait after no answer came, which is 0 if there is another service to ask."""
        what = str(failure) or type(failure).__name__
        place = failure.request.url.copy_with(query=None)
        return self._again(Unreachable(f"{place}: {what}"), None)

    def _again(self, error: SiglipError, retry_after: float | None) -> float:
        self._service.failed(retry_after)
        _, failures = self._due.pop(self._service)
        failures += 1
        own = backoff(failures)
        # Clients that were refused together shall not come back together.
        if retry_after is None:
            pause = own * random.uniform(0.5, 1)
        else:
            pause = retry_after + random.uniform(0, own / 2)
        if self._retries is None or failures <= self._retries:
            self._due[self._service] = monotonic() + pause, failures
        return self._next(error)

    def _next(self, error: SiglipError) -> float:
        if not self._due:
            raise error
        self._service, pause = self._services.choose(self._due)
        if pause >= self._left():
            raise error
        return pause

    def _left(self) -> float:
        return self._timeout - (monotonic() - self._began)


def _seconds(value: str | None) -> float | None:
    """`Retry-After`, which the service gives in seconds."""
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
