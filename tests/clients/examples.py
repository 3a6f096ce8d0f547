"""Runs the examples of docs/dialects.md, docs/vectors.md and of two sections of README.md, as
they stand there, against a running service without a key.

Usage: python examples.py http://127.0.0.1:PORT

Only the address is replaced. Python goes to this interpreter, curl to bash; each must end with 0, and
curl must not get a refusal.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[2]
ADDRESS = sys.argv[1].removeprefix("http://")


def blocks(path, heading=None):
    text = (ROOT / path).read_text()
    if heading:
        text = text.split(heading, 1)[1].split("\n## ", 1)[0]
    for language, code in re.findall(r"```(\w*)\n(.*?)```", text, re.S):
        if "..." not in code and (language == "python" or code.startswith(("curl", "tar"))):
            yield path, language, code.replace("localhost:8091", ADDRESS)


def main():
    failed = 0
    found = [
        *blocks("README.md", "## Use it"),
        *blocks("README.md", "## Clients of other services"),
        *blocks("docs/dialects.md"),
        *blocks("docs/vectors.md"),
    ]
    assert len(found) >= 10, found
    with tempfile.TemporaryDirectory() as folder:
        for sample in (ROOT / "models/demo/samples").glob("*.png"):
            shutil.copy(sample, folder)
        for path, language, code in found:
            if language == "python":
                command = [sys.executable, "-c", code]
            else:
                # A line that goes on does not begin a command.
                code = re.sub(r"(^|\| )curl -s ", r"\1curl -sS --fail-with-body ", code, flags=re.M)
                command = ["bash", "-euo", "pipefail", "-c", code]
            result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            said = "ok    " if result.returncode == 0 else "FAILED"
            print(f"{said}  {path}: {code.splitlines()[0][:70]}")
            if result.returncode != 0:
                failed += 1
                print(code, result.stdout[-2000:], result.stderr[-4000:])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
