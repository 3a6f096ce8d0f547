"""Embeds a folder of pictures with Spark's mapInArrow on running services.

    spark-submit examples/spark_map.py --input /data/photos --output /data/vectors \\
        --url http://a:8091 --url http://b:8091

The driver and the workers need siglip2-embeddings[arrow] (python/), for example in an environment that
is sent along: `venv-pack -o environment.tar.gz`, `--archives environment.tar.gz#environment` and
PYSPARK_PYTHON=./environment/bin/python.
As many requests are under way as Spark runs tasks: two for each service keep it busy.
"""

import argparse

import pyarrow as pa
from pyspark.sql import SparkSession
from siglip2_embeddings import Client, arrow

# A service may restart meanwhile: each request is tried for ten minutes.
PATIENCE = {"timeout": 600, "retries": None}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--key")
    options = parser.parse_args()
    urls, key = options.url, options.key
    # All rows are of one model: services that have another are left out.
    with Client(urls, key=key, **PATIENCE) as client:
        fingerprint = client.fingerprint()

    def embed(batches):
        with Client(urls, expect_fingerprint=fingerprint, key=key, **PATIENCE) as client:
            for batch in batches:
                rows = client.embed_images(batch["content"].to_pylist(), partial=True)
                columns = [batch["path"], arrow.column(rows)]
                yield pa.RecordBatch.from_arrays(columns, ["path", "embedding"])

    spark = SparkSession.builder.appName("siglip2-embeddings").getOrCreate()
    # Pictures in an Arrow batch: all of them are in memory.
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "32")
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    pictures = files.load(options.input).select("path", "content")
    rows = pictures.mapInArrow(embed, "path string, embedding array<float>")
    rows.write.parquet(options.output)
    print(f"done; the vectors' fingerprint is {fingerprint}")
    spark.stop()


if __name__ == "__main__":
    main()
