"""The service, started for the checks."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request


class Service:
    """One service on a port of its own, with the demo model."""

    def __init__(self, binary: str, *flags: str):
        self.binary = binary
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [binary, "--model", "demo", "--host", "127.0.0.1", "--port", str(self.port), *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.until_it_answers()

    def until_it_answers(self) -> None:
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended with {self.process.returncode}")
            try:
                urllib.request.urlopen(f"{self.url}/health").close()
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise RuntimeError("the service did not become ready in a minute")

    def until_it_is_ready(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/ready").close()
                return
            except urllib.error.HTTPError:
                time.sleep(0.1)
        raise RuntimeError("the service did not become ready in a minute")

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path) as answer:
            return answer.read().decode()

    def json(self, path: str):
        return json.loads(self.get(path))

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait()
