"""Embeds a folder of pictures with Daft on running services.

    python examples/daft_class.py --input '/data/photos/**' --output /data/vectors \\
        --url http://a:8091 --url http://b:8091

`--requests` decides how many requests are under way: two for each service keep it busy.
"""

import argparse

import daft
from daft import DataType, Series, col

from siglip2_client import Siglip2


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--key")
    parser.add_argument("--requests", type=int, default=2)
    options = parser.parse_args()
    # All rows are of one model, or the job fails.
    fingerprint = Siglip2(options.url, key=options.key).fingerprint()

    @daft.cls(max_concurrency=options.requests)
    class Embed:
        """Waits for services, and computes nothing."""

        def __init__(self, urls, key):
            self.client = Siglip2(urls, fingerprint, key)

        @daft.method.batch(return_dtype=DataType.list(DataType.float32()), batch_size=32)
        def __call__(self, files: Series):
            return self.client.column(files.to_pylist())

    embed = Embed(options.url, options.key)
    pictures = daft.from_glob_path(options.input).select("path")
    pictures = pictures.with_column("embedding", embed(col("path").download()))
    pictures.write_parquet(options.output)
    print(f"done; the vectors' fingerprint is {fingerprint}")


if __name__ == "__main__":
    main()
