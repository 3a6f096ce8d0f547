"""Runs the blocks of a document, then checks what `embed` writes; see check-bulk-examples."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def blocks(document):
    """The language and the text of every block that has one."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", document.read_text(), re.M | re.S)


def run(command, **more):
    print("+", " ".join(command), flush=True)
    subprocess.run(command, check=True, **more)


def embed(*arguments):
    run(["siglip2-embeddings", "embed", *arguments, "--model", "demo"])


def check_forms():
    """All forms have the same vectors, and rows of tables go through."""
    source = pa.table(
        {
            "image": pa.array(
                [
                    {"bytes": Path("photos/red-circle.png").read_bytes(), "path": None},
                    {"bytes": None, "path": "photos/black-diamond.png"},
                    None,
                ],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "label": pa.array(["a", "b", "c"]).dictionary_encode(),
            "score": pa.array([1.5, None, 2.5]),
            "tags": pa.array([["x"], [], ["y", "z"]]),
        }
    )
    pq.write_table(source, "table.parquet")
    embed("table.parquet", "--out", "from-table")
    made = pq.read_table("from-table/part-00000.parquet")
    assert made.column_names == ["id", "label", "score", "tags", "embedding", "error"], made
    for name in ["label", "score", "tags"]:
        assert made[name].to_pylist() == source[name].to_pylist(), name
    assert made.schema.field("tags").type == source.schema.field("tags").type
    vectors = made["embedding"].to_pylist()
    assert vectors[2] is None and made["error"].to_pylist()[:2] == [None, None]

    embed("photos", "--out", "halves", "--number", "float16")
    embed("photos", "--out", "lines", "--format", "jsonl")
    whole = {row["id"]: row for row in pq.read_table("out/part-00000.parquet").to_pylist()}
    assert whole["photos/zzz-broken.jpg"]["embedding"] is None
    assert "not an image" in whole["photos/zzz-broken.jpg"]["error"]
    assert whole["photos/red-circle.png"]["embedding"] == vectors[0]
    assert whole["photos/black-diamond.png"]["embedding"] == vectors[1]
    halves = pq.read_table("halves/part-00000.parquet")
    assert halves.schema.field("embedding").type.value_type == pa.float16()
    for row in halves.to_pylist():
        if row["embedding"] is not None:
            single = np.array(whole[row["id"]]["embedding"], np.float32)
            assert (np.array(row["embedding"], np.float16) == single.astype(np.float16)).all()
    for line in Path("lines/part-00000.jsonl").read_text().splitlines():
        row = json.loads(line)
        expected = whole[row["id"]]["embedding"]
        if expected is None:
            assert row["embedding"] is None
        else:
            assert (np.float32(row["embedding"]) == np.float32(expected)).all()
    names = pq.read_table("arrays/metadata/metadata_0.parquet")["image_path"].to_pylist()
    array = np.load("arrays/img_emb/img_emb_0.npy")
    assert array.dtype == np.float32 and len(array) == len(names) == len(whole) - 1
    for name, vector in zip(names, array):
        assert (vector == np.float32(whole[name]["embedding"])).all(), name
    return whole


def check_one_file(whole):
    """`--out FILE` has the rows of all shards, for whoever reads Parquet, arrays or lines."""
    shards = ["photos", "--shard-size", "3", "--out"]
    embed(*shards, "one.parquet")
    table = pq.ParquetFile("one.parquet")
    assert table.num_row_groups > 2, "the shards were not joined"
    assert {row["id"]: row for row in table.read().to_pylist()} == whole
    made = [pq.read_metadata(path).metadata for path in ("one.parquet", "out/part-00000.parquet")]
    for name in ("fingerprint", "model", "precision", "normalized", "version"):
        key = f"siglip2.{name}".encode()
        assert made[0][key] == made[1][key], name
    embed(*shards, "one.npy")
    names = pq.read_table("one.metadata.parquet")["image_path"].to_pylist()
    array = np.load("one.npy")
    assert len(array) == len(names) == len(whole) - 1
    for name, vector in zip(names, array):
        assert (vector == np.float32(whole[name]["embedding"])).all(), name
    embed(*shards, "one.jsonl")
    lines = [json.loads(line) for line in Path("one.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == list(whole)
    about = pq.read_metadata("one.parquet").metadata[b"siglip2.fingerprint"].decode()
    assert {line["siglip2.fingerprint"] for line in lines} == {about}


def check_memory():
    """Five times the rows take no more memory: the most that a run holds does not follow them."""
    picture = Path("photos/red-circle.png").read_bytes()
    peaks = []
    # More rows than a row group of the result has.
    for count in (10_000, 50_000):
        name = f"memory-{count}.parquet"
        texts = [os.urandom(1000).hex() for _ in range(1000)]
        schema = pa.schema([("image", pa.binary()), ("note", pa.string())])
        with pq.ParquetWriter(name, schema, use_dictionary=False) as writer:
            for _ in range(0, count, 1000):
                # One in ten is a picture: what is held is the same, and it takes less time.
                pictures = [picture if row % 10 == 0 else None for row in range(1000)]
                columns = [pa.array(pictures, pa.binary()), pa.array(texts)]
                writer.write_table(pa.table(columns, schema=schema))
        command = ["siglip2-embeddings", "embed", name, "--out", f"memory-{count}", "--model", "demo"]
        print("+", " ".join(command), flush=True)
        child = os.posix_spawnp(command[0], command, os.environ)
        _, status, used = os.wait4(child, 0)
        assert status == 0, status
        peaks.append(used.ru_maxrss / 1024)
    print(f"  at most {peaks[0]:.0f} MiB, and {peaks[1]:.0f} MiB with five times the rows")
    # The second table's texts alone are 76 MiB more.
    assert peaks[1] < peaks[0] + 30, peaks


def check_service(whole):
    """The vectors are those that the service answers."""
    server = subprocess.Popen(
        ["siglip2-embeddings", "--model", "demo", "--host", "127.0.0.1", "--port", "0"],
        env=os.environ | {"LOG_LEVEL": "info", "JSON_OUTPUT": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in server.stderr:
            if json.loads(line).get("message") == "ready":
                address = json.loads(line)["address"]
                break
        for name, row in whole.items():
            if row["embedding"] is None:
                continue
            boundary = "aBoundary"
            body = (
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
                f'filename="a.png"\r\n\r\n'
            ).encode()
            body += Path(name).read_bytes() + f"\r\n--{boundary}--\r\n".encode()
            request = urllib.request.Request(
                f"http://{address}/embed/image",
                body,
                {"Content-Type": f"multipart/form-data; boundary={boundary}"},
            )
            with urllib.request.urlopen(request) as answer:
                vector = json.load(answer)["embeddings"][0]
            assert (np.float32(vector) == np.float32(row["embedding"])).all(), name
    finally:
        server.terminate()
        server.wait()


def main():
    document = Path(sys.argv[1]).resolve()
    os.chdir(sys.argv[2])
    count = 0
    for language, text in blocks(document):
        if language == "sh":
            run(["bash", "-euo", "pipefail", "-c", text])
        elif language == "python":
            Path("example.py").write_text(text)
            print("+", text.split("\n", 1)[0], flush=True)
            subprocess.run([sys.executable, "example.py"], check=True)
        count += language in ("sh", "python")
    assert count >= 8, "the document has lost its examples"
    whole = check_forms()
    check_one_file(whole)
    check_memory()
    check_service(whole)
    print(f"{count} examples, and the vectors of all forms, are right")


main()
