"""One service, or several with the same model: whose turn it is, and whose vectors they are."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from threading import Lock
from time import monotonic

import httpx

from ._calls import FINGERPRINT, INFO, Call, described_fingerprints, error_of
from ._errors import FingerprintMismatch, ServiceError

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 8.0

LONGEST_REST = 60.0
"""Seconds for which a service is left alone at most while there is another: so long if it has other
vectors."""

log = logging.getLogger("siglip2_embeddings")


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row, where the service does not say."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))


@dataclass(eq=False)
class Service:
    """A service, and what all requests of a client have learnt of it."""

    url: str
    failures: int = 0
    """In a row: refused because it is full or starting, or lost."""
    rests_until: float = 0.0
    """Until then it is only asked if every other one has refused, too."""
    other_vectors: bool = False
    turn: int = 0
    """When it was asked last, among the services."""

    def answered(self) -> None:
        """It is there, and has room."""
        self.failures, self.rests_until, self.other_vectors = 0, 0.0, False

    def failed(self, retry_after: float | None) -> None:
        """It is full, starting or gone."""
        self.failures += 1
        rest = backoff(self.failures) if retry_after is None else retry_after
        self.rests_until = monotonic() + min(rest, LONGEST_REST)

    def leave_out(self, error: FingerprintMismatch) -> None:
        """It has another model. It may get the right one, so it is asked again some time."""
        if not self.other_vectors:
            log.warning("%s is left out: %s", self.url, error.detail)
        self.other_vectors = True
        self.rests_until = monotonic() + LONGEST_REST


class Services:
    """The services of a client."""

    def __init__(self, urls: str | Sequence[str], expect_fingerprint: str | None) -> None:
        listed = [urls] if isinstance(urls, str) else urls
        # Each of them once.
        self._all = [Service(_checked(url)) for url in dict.fromkeys(listed)]
        if not self._all:
            raise ValueError("no service is named: give one URL or several")
        # Clients that start together do not all begin with the same service.
        random.shuffle(self._all)
        self._turns = count(1)
        self._choosing = Lock()
        self._expected = expect_fingerprint
        self._agreed: dict[bool, str] = {}
        """What the first answer of several services had: of vectors that are normalized or not."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Service]:
        return iter(self._all)

    def choose(self, due: dict[Service, tuple[float, int]]) -> tuple[Service, float]:
        """Of these services, the one to ask next, and how long it has to be waited for. `due` has when
        the request may ask each, and how often it has failed the request.

        The soonest; among equal ones one that has not failed other requests lately; among these one
        that has failed this request least; among these the one that was asked longest ago."""
        now = monotonic()

        def place(service: Service) -> tuple[float, float, int, int]:
            at, failures = due[service]
            return max(0.0, at - now), max(0.0, service.rests_until - now), failures, service.turn

        with self._choosing:
            chosen = min(due, key=place)
            chosen.turn = next(self._turns)
            if chosen.failures:
                # This request finds out whether it is back, and the others go elsewhere meanwhile.
                chosen.rests_until = now + LONGEST_PAUSE
        return chosen, max(0.0, due[chosen][0] - now)

    def expected(self, call: Call) -> str | None:
        """The fingerprint that this call's vectors must have."""
        return self._expected or self._agreed.get(call.normalized)

    def other_vectors(self, call: Call, answer: httpx.Response) -> ServiceError | None:
        """Why an answer is not taken, although the service has not refused: its vectors are not of
        the expected space. The service checks what a request expects, but not for /info, and nothing
        is expected yet in requests that are sent before the first answer is here."""
        if call == INFO:
            expected = {self._expected} if self._expected else set(self._agreed.values())
            found = described_fingerprints(answer)
            if expected <= found:
                return None
            if not found:
                # A service has it once its model is loaded.
                return error_of(answer, 503, "the vectors here have no fingerprint yet")
        else:
            named = answer.headers.get(FINGERPRINT)
            if len(self) == 1 or self._expected or named is None:
                return None
            agreed = self._agreed.setdefault(call.normalized, named)
            if named == agreed:
                return None
            found, expected = {named}, {agreed}
        detail = (
            f"vectors here have the fingerprint {' or '.join(sorted(found))}, and "
            f"{' and '.join(sorted(expected - found))} is expected"
        )
        return error_of(answer, 412, detail)


def _checked(url: str) -> str:
    parsed = httpx.URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is no URL of a service: it begins with http:// or https://")
    return url.rstrip("/")
