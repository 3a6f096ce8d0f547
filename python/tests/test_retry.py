"""What is sent again, when, and when not: against a transport that answers as it is told. Pauses are
recorded, not slept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from siglip2_embeddings import AsyncClient, Client, ServiceError, SiglipError, Unreachable

Answer = Callable[[httpx.Request], httpx.Response]


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


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("siglip2_embeddings._client.time.sleep", slept.append)
    monkeypatch.setattr("siglip2_embeddings._async.asyncio.sleep", sleep)
    return slept


def embed(script: Scripted, asynchronous: bool, timeout: float = 60.0, retries: int = 8) -> object:
    transport = httpx.MockTransport(script)
    if not asynchronous:
        with Client(timeout=timeout, retries=retries, transport=transport) as client:
            return client.embed_texts(["a"]).tolist()

    async def run() -> object:
        async with AsyncClient(timeout=timeout, retries=retries, transport=transport) as client:
            return (await client.embed_texts(["a"])).tolist()

    return asyncio.run(run())


both = pytest.mark.parametrize("asynchronous", [False, True])


@both
def test_retry_after_is_waited_out(pauses: list[float], asynchronous: bool) -> None:
    script = Scripted(refusal(429, Retry_After="7"), refusal(503, Retry_After="3"), broken, rows)
    assert embed(script, asynchronous) == [[0, 1, 2, 3]]
    assert len(script.requests) == 4
    assert 7 <= pauses[0] <= 7.5 and 3 <= pauses[1] <= 3.5 and 0.5 <= pauses[2] <= 1
    assert len({request.content for request in script.requests}) == 1


@both
def test_what_would_come_too_late_is_not_waited_for(
    pauses: list[float], asynchronous: bool
) -> None:
    script = Scripted(refusal(503, Retry_After="100"), rows)
    with pytest.raises(ServiceError, match="503: full"):
        embed(script, asynchronous, timeout=60)
    assert pauses == [] and len(script.requests) == 1


@both
def test_retries_end(pauses: list[float], asynchronous: bool) -> None:
    script = Scripted(broken)
    with pytest.raises(Unreachable, match="reset"):
        embed(script, asynchronous, retries=3)
    assert len(script.requests) == 4 and len(pauses) == 3
    assert sorted(pauses) == pauses


@both
@pytest.mark.parametrize("status", [400, 401, 412, 413, 415, 422, 500, 504])
def test_what_would_fail_again_is_not_sent_again(
    pauses: list[float], asynchronous: bool, status: int
) -> None:
    script = Scripted(refusal(status), rows)
    with pytest.raises(ServiceError) as refused:
        embed(script, asynchronous)
    assert refused.value.status == status and len(script.requests) == 1


@both
def test_the_service_is_told_how_long_is_waited(pauses: list[float], asynchronous: bool) -> None:
    script = Scripted(rows)
    embed(script, asynchronous, timeout=5)
    told = int(script.requests[0].headers["X-Request-Timeout-Ms"])
    assert 0 < told <= 5000


@both
def test_another_program_is_not_taken_for_the_service(
    pauses: list[float], asynchronous: bool
) -> None:
    script = Scripted(lambda _: httpx.Response(200, text="hello"))
    with pytest.raises(SiglipError, match="siglip2-embeddings"):
        embed(script, asynchronous)


def test_nobody_listens() -> None:
    began = time.monotonic()
    with Client("http://127.0.0.1:9", retries=1) as client:
        with pytest.raises(Unreachable, match="127.0.0.1:9"):
            client.info()
    assert time.monotonic() - began < 60
