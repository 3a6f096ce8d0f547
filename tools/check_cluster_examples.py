"""Runs the commands of docs/bulk.md for Ray Data, Spark and Daft against two services, of which one is killed and
restarted; see check-cluster-examples.

Usage: python check_cluster_examples.py BINARY WORK_FOLDER COUNT [NAME...]

Each must have every picture once, with the vector that `embed` writes for it, bit for bit, and none
for the file that is no picture.
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/deploy"))

from running import Process, Service, environment, free_port, get, png, wait_for  # noqa: E402

BINARY, WORK, COUNT = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]), int(sys.argv[3])
PHOTOS = WORK / "photos"
BAD = "zzz-broken.png"


def draw():
    """COUNT small pictures, no two alike, in folders of a thousand, and a file that is none."""
    for number in range(COUNT):
        folder = PHOTOS / f"{number // 1000:03}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06}.png").write_bytes(png(number))
    (PHOTOS / BAD).write_bytes(b"not a picture")


def expected():
    """The vectors by the name of the file, as `embed` writes them."""
    # Not as Parquet: PyArrow before 26, which Daft wants, cannot read null in lists of a fixed size.
    command = [BINARY, "embed", PHOTOS, "--out", WORK / "expected", "--format", "jsonl"]
    env = environment({"MODEL_NAME": "demo", "PRECISION": "fp32", "LOG_LEVEL": "error"})
    subprocess.run(command, check=True, env=env)
    rows = [
        json.loads(line)
        for part in sorted((WORK / "expected").glob("part-*.jsonl"))
        for line in part.read_text().splitlines()
    ]
    return by_name([row["id"] for row in rows], [row["embedding"] for row in rows])


def by_name(paths, embeddings):
    rows = {}
    for path, row in zip(paths, embeddings):
        name = path.rsplit("/", 1)[1]
        assert name not in rows, f"{name} is there twice"
        rows[name] = None if row is None else np.float32(row)
    return rows


def images(service):
    """Images that a service has computed."""
    text = get(service.url, "/metrics")
    return int(float(re.search(r'^siglip2_batch_rows_sum\{tower="image"\} (\S+)', text, re.M)[1]))


# What the commands of the document leave to the cluster: `local[2]` is a driver with two workers.
# Without the last setting a task of Spark gets 32 small files and not more.
SPARK = [
    "--master", "local[2]", "--driver-memory", "1g", "--conf", "spark.ui.enabled=false",
    "--conf", "spark.sql.files.openCostInBytes=65536",
]


def documented():
    """The commands of docs/bulk.md, by the name of their output."""
    text = (ROOT / "docs/bulk.md").read_text().replace("\\\n", " ")
    lines = re.findall(r"^(?:python|spark-submit) .*examples/.*$", text, re.M)
    return {re.search(r"--output /tmp/(\w+)", line)[1]: shlex.split(line) for line in lines}


def command_of(words, out, urls):
    """A command of the document, with the places and services of this check."""
    url = words.index("--url")
    words = words[:url] + [word for url in urls for word in ("--url", url)] + words[url + 2 :]
    words[words.index("--output") + 1] = str(out)
    place = words.index("--input") + 1
    assert words[place].split("/")[0] == "photos", words
    words[place] = words[place].replace("photos", str(PHOTOS), 1)
    return words[:1] + SPARK + words[1:] if words[0] == "spark-submit" else words


def check(name, words, right):
    began = time.monotonic()
    ports = [free_port(), free_port()]
    start = lambda number, life: Service(
        BINARY, WORK / f"{name}-service-{number}-{life}.log", port=ports[number]
    )
    first, second = start(0, 0), start(1, 0)
    with second:
        out = WORK / name
        command = command_of(words, out, [first.url, second.url])
        env = environment(
            {
                "RAY_USAGE_STATS_ENABLED": "0",
                "DAFT_ANALYTICS_ENABLED": "0",
                "DO_NOT_TRACK": "true",
                "SPARK_LOCAL_IP": "127.0.0.1",
                "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            }
        )
        with Process(command, env, cwd=ROOT, log=WORK / f"{name}.log") as job:
            try:
                wait_for(
                    "a twentieth of the pictures",
                    lambda: job.must_live() and images(first) > COUNT // 20,
                    300,
                )
            finally:
                first.kill()
            with start(0, 1) as again:
                code = job.child.wait(600)
                assert code == 0, f"{name}: exit code {code}\n{job.said()[-6000:]}"
                shares = images(again), images(second)
    assert all(shares), f"the restarted service got no work: {shares}"
    table = pa.concat_tables(
        pq.read_table(file, columns=["path", "embedding"]).cast(
            pa.schema([("path", pa.string()), ("embedding", pa.list_(pa.float32()))])
        )
        for file in sorted(out.glob("*.parquet"))
    )
    rows = by_name(table["path"].to_pylist(), table["embedding"].to_pylist())
    assert rows.keys() == right.keys(), f"{len(rows)} instead of {len(right)} rows"
    for file, row in right.items():
        same = rows[file] is None if row is None else np.array_equal(rows[file], row)
        assert same, f"{name}: {file} has another vector"
    assert rows[BAD] is None
    print(
        f"  {name}: {len(rows)} rows, each once and right; the killed service did {shares[0]} after "
        f"its restart, the other {shares[1]} ({time.monotonic() - began:.0f} s)",
        flush=True,
    )


def main():
    draw()
    right = expected()
    assert len(right) == COUNT + 1 and right[BAD] is None
    commands = documented()
    assert commands.keys() == {"ray", "spark", "daft"}, commands
    for name in sys.argv[4:] or commands:
        check(name, commands[name], right)


main()
