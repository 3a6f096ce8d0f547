"""Embeds a folder of pictures with Daft on running services.

    python examples/daft_class.py --input '/data/photos/**' --output /data/vectors \\
        --url http://a:8091 --url http://b:8091

It needs siglip2-embeddings[arrow] (python/) and daft; with Daft's runner for Ray the workers need them,
too. `--requests` decides how many requests are under way: two for each service keep it busy.
"""

import argparse

import daft
from daft import DataType, Series, col
from siglip2_embeddings import Client, arrow

# A service may restart meanwhile: each request is tried for ten minutes.
PATIENCE = {"timeout": 600, "retries": None}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--key")
    parser.add_argument("--requests", type=int, default=2)
    options = parser.parse_args()
    # All rows are of one model: services that have another are left out.
    with Client(options.url, key=options.key, **PATIENCE) as client:
        fingerprint = client.fingerprint()

    @daft.cls(max_concurrency=options.requests)
    class Embed:
        """Waits for services, and computes nothing."""

        def __init__(self, urls, key):
            self.client = Client(urls, expect_fingerprint=fingerprint, key=key, **PATIENCE)

        @daft.method.batch(return_dtype=DataType.list(DataType.float32()), batch_size=32)
        def __call__(self, files: Series):
            return arrow.column(self.client.embed_images(files.to_pylist(), partial=True))

    embed = Embed(options.url, options.key)
    pictures = daft.from_glob_path(options.input).select("path")
    pictures = pictures.with_column("embedding", embed(col("path").download()))
    pictures.write_parquet(options.output)
    print(f"done; the vectors' fingerprint is {fingerprint}")


if __name__ == "__main__":
    main()
