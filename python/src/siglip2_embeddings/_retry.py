"""When a request is sent again, and after how long.

Embedding changes nothing in the service, so every request may be sent twice.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

import httpx

from ._calls import Call, error_of
from ._errors import SiglipError, Unreachable

FULL_OR_STARTING = (429, 502, 503)
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 8.0


@dataclass
class Attempts:
    """The attempts at one request, until its time is up."""

    call: Call
    timeout: float
    """Seconds for all of them together, and for the pauses between them."""
    retries: int
    failures: int = 0
    began: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds that are left."""
        return self.timeout - (time.monotonic() - self.began)

    def headers(self) -> dict[str, str]:
        """The request's headers. The service is told how long the answer is waited for, and leaves
        work undone that nobody waits for any more."""
        left = max(1, int(self.left() * 1000))
        return {**self.call.headers, "X-Request-Timeout-Ms": str(left)}

    def pause_after_answer(self, answer: httpx.Response) -> float | None:
        """None if this is the answer; otherwise how long to wait. Refusals are raised."""
        if answer.is_success:
            return None
        error = error_of(answer)
        if answer.status_code not in FULL_OR_STARTING:
            raise error
        return self._pause(error, _seconds(answer.headers.get("Retry-After")))

    def pause_after_failure(self, failure: httpx.TransportError) -> float:
        """How long to wait after no answer came."""
        what = str(failure) or type(failure).__name__
        place = failure.request.url.copy_with(query=None)
        return self._pause(Unreachable(f"{place}: {what}"), None)

    def _pause(self, error: SiglipError, asked: float | None) -> float:
        self.failures += 1
        own = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.failures - 1))
        # Clients that were refused together shall not come back together.
        pause = own * random.uniform(0.5, 1) if asked is None else asked + random.uniform(0, own / 2)
        if self.failures > self.retries or pause >= self.left():
            raise error
        return pause


def _seconds(value: str | None) -> float | None:
    """`Retry-After`, which the service gives in seconds."""
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
