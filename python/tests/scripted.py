"""Services that answer as they are told, for httpx.MockTransport."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import numpy as np
import pytest

Answer = Callable[[httpx.Request], httpx.Response]

both = pytest.mark.parametrize("asynchronous", [False, True])


def rows(request: httpx.Request) -> httpx.Response:
    row = np.arange(4, dtype="<f4").tobytes()
    return httpx.Response(200, content=row, headers={"X-Embedding-Shape": "1,4"})


def refusal(status: int, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, json={"detail": "full"}, headers=named)


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("reset", request=request)


class Scripted:
    """Answers one after the other; the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request)
