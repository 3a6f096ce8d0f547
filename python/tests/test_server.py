"""The program as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from siglip2_embeddings import Client, Server, SiglipError, Unreachable, find_binary, serve

BINARY = os.environ.get("SIGLIP2_BINARY")


def test_it_is_ready_inside_and_gone_outside() -> None:
    with Server(binary=BINARY) as server:
        url = server.url
        with Client(url) as client:
            assert client.embed_texts(["a red circle"]).shape == (1, 96)
        assert any("ready" in line for line in server.log)
    with Client(url, retries=0) as client, pytest.raises(Unreachable):
        client.info()
    with pytest.raises(SiglipError, match="not running"):
        print(server.url)
    # Once more: the same object starts a new process.
    with server, Client(server.url) as client:
        assert client.info().model == "demo"


def test_why_it_does_not_start_is_said(tmp_path: Path) -> None:
    with pytest.raises(SiglipError, match="no/such/model"):
        Server("./no/such/model", binary=BINARY).start()
    with pytest.raises(SiglipError, match="cannot be started"):
        Server(binary=tmp_path / "none").start()


def test_the_wheel_has_brought_the_program() -> None:
    if BINARY:
        pytest.skip("SIGLIP2_BINARY names another")
    assert find_binary().parent == Path(sys.executable).parent
    assert serve("--version") == 0
    command = [sys.executable, "-m", "siglip2_embeddings", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("siglip2-embeddings ")
