"""Embeds a folder of pictures with Ray Data on running services.

    python examples/ray_data.py --input /data/photos --output /data/vectors \\
        --url http://a:8091 --url http://b:8091

On a cluster the workers need the packages and siglip2_client.py: Ray's `working_dir` below sends it.
`--actors` decides how many requests are under way: two for each service keep it busy.
"""

import argparse
import pathlib

import pyarrow as pa
import ray

from siglip2_client import Siglip2


class Embed:
    """An actor: it waits for services and computes nothing, so it needs no core of its own."""

    def __init__(self, urls, fingerprint, key):
        self.client = Siglip2(urls, fingerprint, key)

    def __call__(self, batch: pa.Table) -> pa.Table:
        embedding = self.client.column(batch["bytes"].to_pylist())
        return pa.table({"path": batch["path"], "embedding": embedding})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--key")
    parser.add_argument("--actors", type=int, default=2)
    options = parser.parse_args()
    ray.init(runtime_env={"working_dir": str(pathlib.Path(__file__).parent)})
    # All rows are of one model, or the job fails.
    fingerprint = Siglip2(options.url, key=options.key).fingerprint()
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
