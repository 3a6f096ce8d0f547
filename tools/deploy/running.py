"""Services as processes, for the checks of manifests, proxies and examples."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
import zlib

# What would leak from the caller's own settings into a service.
OURS = ("MODEL_NAME", "API_", "HF_", "DEVICE", "PRECISION", "JOB_COMPLETION", "MAX_", "ENGINE")


def environment(more):
    """This process's environment without settings of the service, and these settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    return kept | {"HF_HUB_OFFLINE": "1", "JSON_OUTPUT": "1"} | more


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, ask, seconds=120):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def status(url, path, timeout=70):
    """The status of a GET; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url + path, timeout=timeout) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def get(url, path):
    """The body of a GET, as text."""
    with urllib.request.urlopen(url + path, timeout=70) as answer:
        return answer.read().decode()


def post(url, path, body, headers):
    """The status, headers and body of a POST, whatever the status is."""
    request = urllib.request.Request(url + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=70) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def embed_text(url, text, **headers):
    """The status of a text's embedding."""
    body = json.dumps({"texts": [text]}).encode()
    return post(url, "/embed/text", body, {"Content-Type": "application/json"} | headers)[0]


def png(number, side=24):
    """A small picture, another one for each number."""
    seed = number * 2654435761 % 2**32
    row = bytes([0]) + bytes((seed >> (8 * (at % 4)) ^ at * 5) & 255 for at in range(3 * side))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row * side, 1))
        + chunk(b"IEND", b"")
    )


class Process:
    """A process of ours, which ends with the `with` that it is in."""

    def __init__(self, command, env, cwd=None, log=None):
        self.log = log
        output = open(log, "w") if log else subprocess.DEVNULL
        self.child = subprocess.Popen(
            command, env=env, cwd=cwd, stdout=output, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        """SIGKILL, and waits."""
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
        self.child.wait()

    def stop(self, seconds=60):
        """SIGTERM, and the exit code."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(seconds)

    def said(self):
        """The log so far."""
        with open(self.log) as log:
            return log.read()

    def must_live(self):
        """Ends with the log if the process has ended."""
        if self.child.poll() is not None:
            raise SystemExit(f"ended with {self.child.returncode}:\n{self.said()[-4000:]}")
        return True


class Service(Process):
    """A service with the demo model, ready when this returns."""

    def __init__(self, binary, log, port=None, **settings):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {
            "MODEL_NAME": "demo",
            "API_HOST": "127.0.0.1",
            "API_PORT": str(self.port),
            "PRECISION": "fp32",
        } | settings
        super().__init__([binary], environment(settings), log=log)
        wait_for("a service", lambda: self.must_live() and status(self.url, "/ready") == 200)
