"""What is sent again, when, and when not: against a transport that answers as it is told. Pauses are
recorded, not slept."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from scripted import Scripted, both, broken, refusal, rows

from siglip2_embeddings import AsyncClient, Client, ServiceError, SiglipError, Unreachable


def embed(
    script: Scripted, asynchronous: bool, timeout: float = 60.0, retries: int | None = 8
) -> object:
    transport = httpx.MockTransport(script)
    if not asynchronous:
        with Client(timeout=timeout, retries=retries, transport=transport) as client:
            return client.embed_texts(["a"]).tolist()

    async def run() -> object:
        async with AsyncClient(timeout=timeout, retries=retries, transport=transport) as client:
            return (await client.embed_texts(["a"])).tolist()

    return asyncio.run(run())


@both
def test_retry_after_is_waited_out(pauses: list[float], asynchronous: bool) -> None:
    script = Scripted(
        refusal(429, Retry_After="7"), refusal(503, Retry_After="3"), broken, refusal(504), rows
    )
    assert embed(script, asynchronous) == [[0, 1, 2, 3]]
    assert len(script.requests) == 5
    assert 7 <= pauses[0] <= 7.2 and 3 <= pauses[1] <= 3.3
    assert 0.5 <= pauses[2] <= 1 <= pauses[3] <= 2
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
def test_without_a_number_of_retries_the_time_ends_them(
    pauses: list[float], asynchronous: bool
) -> None:
    script = Scripted(*[broken] * 30, rows)
    assert embed(script, asynchronous, timeout=600, retries=None) == [[0, 1, 2, 3]]
    assert len(pauses) == 30 and max(pauses) <= 8
    pauses.clear()
    with pytest.raises(Unreachable):
        embed(Scripted(broken), asynchronous, timeout=600, retries=None)
    assert 590 < sum(pauses) < 600


@both
@pytest.mark.parametrize("status", [400, 401, 412, 413, 415, 422, 500])
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
def test_one_that_takes_no_connection_is_given_up_sooner(asynchronous: bool) -> None:
    script = Scripted(rows)
    embed(script, asynchronous, timeout=600)
    timeout = script.requests[0].extensions["timeout"]
    assert timeout["connect"] <= 5 and 500 < timeout["read"] <= 600


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
