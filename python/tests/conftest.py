"""One service with the demo model for all tests: SIGLIP2_BINARY names the program, or the wheel has
brought it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from siglip2_embeddings import Client, Server

KEY = "a key of the tests"
SAMPLES = Path(__file__).resolve().parents[2] / "models" / "demo" / "samples"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    binary = os.environ.get("SIGLIP2_BINARY")
    settings = ["--precision", "fp32"]
    with Server(settings=settings, env={"API_KEY": KEY}, binary=binary, timeout=120) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, key=KEY) as opened:
        yield opened


@pytest.fixture(scope="session")
def samples() -> list[Path]:
    found = sorted(SAMPLES.glob("*.png"))
    assert len(found) == 8
    return found


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts: they are not slept, but the clients' clock goes on by them."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("siglip2_embeddings._client.time.sleep", slept.append)
    monkeypatch.setattr("siglip2_embeddings._async.asyncio.sleep", sleep)
    for module in ("_retry", "_services"):
        monkeypatch.setattr(f"siglip2_embeddings.{module}.monotonic", lambda: 1000 + sum(slept))
    return slept
