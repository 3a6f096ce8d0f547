"""Embeds a folder of pictures with Ray Data on running services.

    python examples/ray_data.py --input /data/photos --output /data/vectors \\
        --url http://a:8091 --url http://b:8091

It needs siglip2-embeddings[arrow] (python/) and ray[data] where it is started. Ray sends the package
to the workers (`py_modules` below); what the package needs they must have: httpx, NumPy and PyArrow.
`--actors` decides how many requests are under way: two for each service keep it busy.
"""

import argparse

import pyarrow as pa
import ray
import siglip2_embeddings
from siglip2_embeddings import Client, arrow

# A service may restart meanwhile: each request is tried for ten minutes.
PATIENCE = {"timeout": 600, "retries": None}


class Embed:
    """An actor: it waits for services and computes nothing, so it needs no core of its own."""

    def __init__(self, urls, fingerprint, key):
        self.client = Client(urls, expect_fingerprint=fingerprint, key=key, **PATIENCE)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = self.client.embed_images(batch["bytes"].to_pylist(), partial=True)
        return pa.table({"path": batch["path"], "embedding": arrow.column(rows)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--key")
    parser.add_argument("--actors", type=int, default=2)
    options = parser.parse_args()
    ray.init(runtime_env={"py_modules": [siglip2_embeddings]})
    # All rows are of one model: services that have another are left out.
    with Client(options.url, key=options.key, **PATIENCE) as client:
        fingerprint = client.fingerprint()
    pictures = ray.data.read_binary_files(options.input, include_paths=True)
    pictures.map_batches(
        Embed,
        fn_constructor_args=(options.url, fingerprint, options.key),
        batch_format="pyarrow",
        batch_size=32,
        compute=ray.data.ActorPoolStrategy(size=options.actors),
        num_cpus=0.1,
    ).write_parquet(options.output)
    print(f"done; the vectors' fingerprint is {fingerprint}")


if __name__ == "__main__":
    main()
