"""Rows as a column of Arrow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from siglip2_embeddings import Client, Image, arrow


def test_an_image_that_is_none_is_null(client: Client, samples: list[Path]) -> None:
    images: list[Image] = [samples[0], b"not a picture", samples[1], b""]
    rows = client.embed_images(images, partial=True)
    column = arrow.column(rows)
    assert column.type == pa.list_(pa.float32()) and column.null_count == 2
    expected = [rows[0].tolist(), None, rows[2].tolist(), None]
    assert column.to_pylist() == expected
    column.validate(full=True)


def test_all_and_nothing() -> None:
    assert arrow.column(np.full((2, 3), np.nan, np.float32)).to_pylist() == [None, None]
    assert arrow.column(np.ones((2, 3), np.float32)).to_pylist() == [[1, 1, 1]] * 2
    empty = arrow.column(np.empty((0, 3), np.float32))
    assert len(empty) == 0 and empty.type == pa.list_(pa.float32())
