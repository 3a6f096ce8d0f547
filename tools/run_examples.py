"""Runs the Python examples of a document as they stand, in a folder with copies of some files and
against a service with the demo model, whose address is put where they say localhost:8091.

    python tools/run_examples.py DOCUMENT FOLDER [HEADING]

With a heading, only those below it, up to the next one of its level.
Needs the Python package of this project, with its program.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from siglip2_embeddings import Server


def main():
    document, folder = map(Path, sys.argv[1:3])
    text = document.read_text()
    for heading in sys.argv[3:]:
        level = heading.split(" ", 1)[0]
        text = text.split(f"\n{heading}\n", 1)[1].split(f"\n{level} ", 1)[0]
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert examples, f"{document} has lost its examples"
    with tempfile.TemporaryDirectory() as work, Server("demo") as server:
        shutil.copytree(folder, work, dirs_exist_ok=True)
        for example in examples:
            print("+", example.split("\n", 1)[0], flush=True)
            code = example.replace("http://localhost:8091", server.url)
            subprocess.run([sys.executable, "-c", code], cwd=work, env=os.environ, check=True)
    print(f"{len(examples)} examples of {document} ran")


main()
