"""The service itself, started from Python: for tests, notebooks and single machines.

The program comes with a wheel that has it, or is found in PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from ._errors import SiglipError

NAME = "siglip2-embeddings"


def find_binary() -> Path:
    """The program: beside this Python, in the user's scripts, or in PATH."""
    user = sysconfig.get_preferred_scheme("user")
    places = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", user)]
    for place in places:
        program = Path(place) / NAME
        if os.access(program, os.X_OK):
            return program
    found = shutil.which(NAME)
    if found is None:
        raise SiglipError(
            f"the program {NAME} is neither beside this Python nor in PATH: install a wheel that "
            "has it, or name it with binary="
        )
    return Path(found)


class Server:
    """The service as a child process, on a port of its own choice. It is `ready` when the context
    is entered, and ended with it, also if this process is interrupted.

    >>> with Server("demo") as server, Client(server.url) as client:          # doctest: +SKIP
    ...     client.embed_texts(["a red circle"])

    `settings` are flags of the program (`["--precision", "fp32"]`), and `env` are variables that it
    gets beside those of this process. `timeout` is for the start, which with a model from the
    hub may have to download it.
    """

    def __init__(
        self,
        model: str = "demo",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        settings: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        binary: str | os.PathLike[str] | None = None,
        timeout: float = 600.0,
    ) -> None:
        program = find_binary() if binary is None else binary
        self._command = [os.fspath(program), "--model", model, "--host", host, "--port", str(port)]
        self._command += ["--json-output", *settings]
        self._env = {**os.environ, "LOG_LEVEL": "info", **(env or {})}
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()
        self._address: str | None = None
        self.log: deque[str] = deque(maxlen=1000)
        """The last lines of its log."""

    @property
    def url(self) -> str:
        """Where it listens."""
        if self._address is None:
            raise SiglipError("the service is not running: use it as a context manager")
        return f"http://{self._address}"

    def start(self) -> Server:
        """Starts it, and waits until it is ready."""
        if self._process is not None:
            raise SiglipError("the service is running already")
        self._ready.clear()
        try:
            process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise SiglipError(f"{self._command[0]} cannot be started: {error.strerror}") from error
        self._process = process
        assert process.stderr is not None
        threading.Thread(target=self._read, args=(process.stderr,), daemon=True).start()
        try:
            arrived = self._ready.wait(self._timeout)
        except BaseException:
            self.stop()
            raise
        if self._address is None:
            self.stop()
            last = "\n".join(list(self.log)[-5:])
            what = "ended while it started" if arrived else f"is not ready after {self._timeout} s"
            raise SiglipError(f"{NAME} {what}:\n{last}")
        return self

    def stop(self, timeout: float = 60.0) -> None:
        """Ends it: requests that it has taken are answered."""
        process, self._process, self._address = self._process, None, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _read(self, log: IO[str]) -> None:
        """Reads the log to its end, so that the service never waits for a reader."""
        with log:
            for line in log:
                self.log.append(line.rstrip("\n"))
                if self._ready.is_set():
                    continue
                try:
                    fields = json.loads(line)
                    fields = fields.get("fields", fields)
                except (ValueError, AttributeError):
                    continue
                if fields.get("message") == "ready":
                    self._address = fields["address"]
                    self._ready.set()
        self._ready.set()


def serve(*arguments: str) -> int:
    """Runs the program in the foreground with these arguments; its exit code."""
    return subprocess.call([os.fspath(find_binary()), *arguments])
