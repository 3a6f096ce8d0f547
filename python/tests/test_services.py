"""Several services: which of them a request goes to, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import KEY
from scripted import Answer, Scripted, both, broken, refusal

from siglip2_embeddings import (
    AsyncClient,
    Client,
    FingerprintMismatch,
    Server,
    ServiceError,
    SiglipError,
    Unreachable,
)
from siglip2_embeddings._calls import INFO
from siglip2_embeddings._services import Services

ONE, OTHER = "1" * 16, "2" * 16


def lengths(request: httpx.Request) -> httpx.Response:
    """The length of each text as its row."""
    texts = json.loads(request.content)["texts"]
    found = np.array([[len(text)] for text in texts], "<f4")
    return httpx.Response(
        200, content=found.tobytes(), headers={"X-Embedding-Shape": f"{len(texts)},1"}
    )


def having(fingerprint: str, refuses: bool = True) -> Answer:
    """A service with this model. Without `refuses` it is as if a request had been sent before
    anything was expected."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/info":
            described = {"fingerprint": fingerprint, "fingerprint_pooled": fingerprint[::-1]}
            return httpx.Response(200, json=described)
        expected = request.headers.get("X-Expect-Fingerprint", fingerprint)
        if refuses and expected != fingerprint:
            return httpx.Response(412, json={"detail": "another model"})
        answered = lengths(request)
        answered.headers["X-Embedding-Fingerprint"] = fingerprint
        return answered

    return answer


class Cluster:
    """Services by the names of their hosts."""

    def __init__(self, **answers: Answer | Scripted) -> None:
        self.services = {
            host: answer if isinstance(answer, Scripted) else Scripted(answer)
            for host, answer in answers.items()
        }
        self.order: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.order.append(request.url.host)
        return self.services[request.url.host](request)

    @property
    def counts(self) -> dict[str, int]:
        return {host: len(service.requests) for host, service in self.services.items()}

    def options(self, more: dict[str, Any]) -> dict[str, Any]:
        urls = [f"http://{host}:8091" for host in self.services]
        transport = httpx.MockTransport(self)
        return {"url": urls, "text_batch": 1, "concurrency": 1, "transport": transport, **more}


def embed(cluster: Cluster, asynchronous: bool, texts: int = 1, **more: Any) -> list[list[float]]:
    """Texts of the lengths 0, 1, 2 ..., each in a request of its own."""
    wanted = ["x" * number for number in range(texts)]
    options = cluster.options(more)
    if not asynchronous:
        with Client(**options) as client:
            return [list(row) for row in client.embed_texts(wanted)]

    async def run() -> list[list[float]]:
        async with AsyncClient(**options) as client:
            return [list(row) for row in await client.embed_texts(wanted)]

    return asyncio.run(run())


def right(texts: int) -> list[list[float]]:
    return [[float(number)] for number in range(texts)]


@both
def test_each_gets_its_turn(pauses: list[float], asynchronous: bool) -> None:
    cluster = Cluster(a=lengths, b=lengths, c=lengths)
    assert embed(cluster, asynchronous, 12, concurrency=3) == right(12)
    assert cluster.counts == {"a": 4, "b": 4, "c": 4} and pauses == []


@both
@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_one_that_refuses_is_left_for_the_next_at_once(
    pauses: list[float], asynchronous: bool, status: int
) -> None:
    cluster = Cluster(a=refusal(status, Retry_After="7"), b=lengths, c=lengths)
    assert embed(cluster, asynchronous, 30) == right(30)
    # Nothing is waited for, and nobody asks it again before it said.
    assert pauses == [] and cluster.counts["a"] == 1
    assert min(cluster.counts["b"], cluster.counts["c"]) >= 14


@both
@pytest.mark.parametrize("concurrency", [1, 4])
def test_what_is_lost_with_a_service_is_sent_again(
    pauses: list[float], asynchronous: bool, concurrency: int
) -> None:
    dying = Scripted(lengths, lengths, broken)
    cluster = Cluster(a=dying, b=lengths)
    assert embed(cluster, asynchronous, 30, concurrency=concurrency) == right(30)
    assert pauses == [] and len(dying.requests) >= 3
    taken_over = [request.content for request in cluster.services["b"].requests]
    assert all(request.content in taken_over for request in dying.requests[2:])


def test_one_that_comes_back_gets_its_turn_again(pauses: list[float]) -> None:
    cluster = Cluster(a=Scripted(broken, lengths), b=lengths)
    with Client(**cluster.options({})) as client:
        assert client.embed_texts(["x"] * 2).tolist() == [[1]] * 2
        assert cluster.counts == {"a": 1, "b": 2} and pauses == []
        pauses.append(10)
        assert client.embed_texts(["x"] * 20).tolist() == [[1]] * 20
    assert cluster.counts == {"a": 11, "b": 12}


def test_one_request_finds_out_whether_a_service_is_back(pauses: list[float]) -> None:
    services = Services(["http://a", "http://b"], None)
    lost, other = services
    due = {service: (0.0, 0) for service in services}
    lost.failed(None)
    pauses.append(10)
    chosen = [services.choose(due)[0] for _ in range(5)]
    assert chosen == [lost] + [other] * 4


@both
def test_the_others_share_what_a_lost_one_would_do(
    pauses: list[float], asynchronous: bool
) -> None:
    cluster = Cluster(a=broken, b=lengths, c=lengths, d=lengths)
    assert embed(cluster, asynchronous, 30) == right(30)
    counts = cluster.counts
    assert counts["a"] == 1 and [counts[host] for host in "bcd"] == [10] * 3


@both
def test_only_when_all_refuse_is_there_a_pause(pauses: list[float], asynchronous: bool) -> None:
    cluster = Cluster(
        a=refusal(503, Retry_After="7"),
        b=Scripted(refusal(429, Retry_After="3"), refusal(429, Retry_After="2"), lengths),
        c=refusal(503, Retry_After="100"),
    )
    assert embed(cluster, asynchronous) == right(1)
    assert sorted(cluster.order[:3]) == ["a", "b", "c"] and cluster.order[3:] == ["b", "b"]
    assert 3 <= pauses[0] <= 3.2 and 2 <= pauses[1] <= 2.3 and len(pauses) == 2


@both
def test_none_comes_before_it_said(pauses: list[float], asynchronous: bool) -> None:
    busy = Scripted(refusal(503, Retry_After="2"))
    cluster = Cluster(a=Scripted(refusal(503, Retry_After="5"), lengths), b=busy)
    assert embed(cluster, asynchronous) == right(1)
    assert cluster.order[-1] == "a" and sum(pauses) >= 5
    assert len(busy.requests) in (2, 3)


@both
def test_when_none_will_the_last_refusal_is_raised(
    pauses: list[float], asynchronous: bool
) -> None:
    cluster = Cluster(a=refusal(503), b=refusal(503))
    with pytest.raises(ServiceError, match=r"http://[ab]:8091/embed/text: 503: full"):
        embed(cluster, asynchronous, retries=2)
    assert cluster.counts == {"a": 3, "b": 3}
    cluster = Cluster(a=broken, b=broken)
    with pytest.raises(Unreachable, match="reset"):
        embed(cluster, asynchronous, retries=0)
    assert cluster.counts == {"a": 1, "b": 1}
    pauses.clear()
    cluster = Cluster(a=refusal(503, Retry_After="80"), b=refusal(503, Retry_After="90"))
    with pytest.raises(ServiceError, match="503"):
        embed(cluster, asynchronous, timeout=60)
    assert cluster.counts == {"a": 1, "b": 1} and pauses == []


@both
def test_what_no_service_would_do_is_sent_to_one(pauses: list[float], asynchronous: bool) -> None:
    cluster = Cluster(a=refusal(400), b=refusal(400))
    with pytest.raises(ServiceError, match="400"):
        embed(cluster, asynchronous)
    assert sum(cluster.counts.values()) == 1


@both
def test_one_with_another_model_is_left_out(
    pauses: list[float], asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster(a=having(OTHER), b=having(ONE), c=having(ONE))
    with caplog.at_level(logging.WARNING, "siglip2_embeddings"):
        assert embed(cluster, asynchronous, 30, expect_fingerprint=ONE) == right(30)
    assert cluster.counts["a"] == 1 and pauses == []
    assert [record.getMessage() for record in caplog.records] == [
        "http://a:8091 is left out: another model"
    ]


def test_a_single_one_is_not_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "siglip2_embeddings"), pytest.raises(FingerprintMismatch):
        embed(Cluster(a=having(OTHER)), False, expect_fingerprint=ONE)
    assert caplog.records == []


@both
def test_where_all_have_another_model_it_is_said_at_once(
    pauses: list[float], asynchronous: bool
) -> None:
    cluster = Cluster(a=having(OTHER), b=having(OTHER))
    with pytest.raises(FingerprintMismatch, match="another model"):
        embed(cluster, asynchronous, expect_fingerprint=ONE)
    assert cluster.counts == {"a": 1, "b": 1} and pauses == []


@both
@pytest.mark.parametrize("refuses", [True, False])
def test_without_an_expectation_all_must_agree_with_the_first(
    pauses: list[float], asynchronous: bool, refuses: bool
) -> None:
    cluster = Cluster(a=having(OTHER, refuses), b=having(ONE, refuses))
    assert embed(cluster, asynchronous, 10) == right(10)
    # The first is asked for all, and the other one was asked once.
    assert sorted(cluster.counts.values()) == [1, 10]
    sent = [
        request.headers.get("X-Expect-Fingerprint")
        for service in cluster.services.values()
        for request in service.requests
    ]
    assert sent.count(None) == 1 and len(set(sent)) == 2


def test_normalized_and_other_vectors_have_fingerprints_of_their_own() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        own = ONE if json.loads(request.content)["normalize"] else OTHER
        return having(own)(request)

    with Client(**Cluster(a=answer, b=answer).options({})) as client:
        for normalize in (True, False, True, False):
            assert client.embed_texts(["", "x"], normalize=normalize).shape == (2, 1)


def test_what_is_told_is_of_the_expected_model(pauses: list[float]) -> None:
    def told(client: Client) -> Any:
        return client._send(INFO).json()["fingerprint"]

    with Client(**Cluster(a=having(OTHER), b=having(ONE)).options({})) as client:
        client.embed_texts(["a"])
        agreed = {told(client) for _ in range(4)}
        assert len(agreed) == 1
    expecting = {"expect_fingerprint": ONE[::-1]}
    with Client(**Cluster(a=having(OTHER), b=having(ONE)).options(expecting)) as client:
        assert {told(client) for _ in range(4)} == {ONE}
    with Client(**Cluster(a=having(OTHER)).options(expecting)) as client:
        with pytest.raises(FingerprintMismatch, match=f"fingerprint {OTHER}, and {ONE}"):
            client.info()
    # One that is starting has none yet: it is left to the others, or waited for.
    starting = lambda _: httpx.Response(200, json={"fingerprint": None})  # noqa: E731
    with Client(**Cluster(a=starting, b=having(ONE)).options(expecting)) as client:
        assert {told(client) for _ in range(4)} == {ONE} and pauses == []
    with Client(**Cluster(a=Scripted(starting, having(ONE))).options(expecting)) as client:
        assert told(client) == ONE and len(pauses) == 1


def test_urls_are_checked() -> None:
    for wrong in ([], "localhost:8091", ["http://a:8091", "b"], "ftp://a"):
        with pytest.raises(ValueError):
            Client(wrong)
    cluster = Cluster(a=lengths)
    twice = {"url": ["http://a:8091", "http://a:8091"], "retries": 0}
    with Client(**cluster.options(twice)) as client:
        assert client.embed_texts(["x"]).tolist() == [[1]]


def test_a_service_without_a_fingerprint_is_told() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"", headers={"X-Embedding-Shape": "0,4"})

    with Client(**Cluster(a=answer).options({})) as client:
        with pytest.raises(SiglipError, match="without a fingerprint"):
            client.fingerprint()


def test_a_real_one_beside_one_where_nobody_listens(server: Server) -> None:
    urls = ["http://127.0.0.1:9", server.url]
    with Client(urls, key=KEY, retries=0, text_batch=1) as client:
        rows = client.embed_texts(["a", "b", "c", "d"])
        fingerprint = client.fingerprint()
    with Client(server.url, key=KEY, expect_fingerprint=fingerprint) as client:
        assert np.array_equal(rows, client.embed_texts(["a", "b", "c", "d"]))
        assert client.info().fingerprint == fingerprint

    async def run() -> str:
        async with AsyncClient(urls, key=KEY) as other:
            return await other.fingerprint()

    assert asyncio.run(run()) == fingerprint


def test_all_calls_of_real_ones_agree(server: Server, samples: list[Path]) -> None:
    # One service by two addresses is two with the same model.
    urls = [server.url, server.url.replace("127.0.0.1", "localhost")]
    with Client(server.url, key=KEY) as alone, Client(urls, key=KEY, image_batch=1) as client:
        for _ in range(2):
            for normalize in (True, False):
                texts = client.embed_texts(["a red circle"], normalize=normalize)
                assert np.array_equal(
                    texts, alone.embed_texts(["a red circle"], normalize=normalize)
                )
                pictures = client.embed_images(samples, normalize=normalize)
                assert np.array_equal(pictures, alone.embed_images(samples, normalize=normalize))
            labels = ["red circle", "star"]
            assert client.classify(samples, labels) == alone.classify(samples, labels)
            found = client.rank("a red circle", samples)
            assert found == alone.rank("a red circle", samples)
            assert client.info() == alone.info()
            assert client.fingerprint() == alone.info().fingerprint
