"""Embeds a folder of pictures with Spark's mapInArrow on running services.

    spark-submit --py-files examples/siglip2_client.py examples/spark_map.py \\
        --input /data/photos --output /data/vectors --url http://a:8091 --url http://b:8091

As many requests are under way as Spark runs tasks: two for each service keep it busy.
"""

import argparse

import pyarrow as pa
from pyspark.sql import SparkSession

from siglip2_client import Siglip2


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--key")
    options = parser.parse_args()
    urls, key = options.url, options.key
    # All rows are of one model, or the job fails.
    fingerprint = Siglip2(urls, key=key).fingerprint()

    def embed(batches):
        client = Siglip2(urls, fingerprint, key)
        for batch in batches:
            columns = [batch["path"], client.column(batch["content"].to_pylist())]
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
