"""Rows as a column of Arrow. It needs PyArrow: `pip install 'siglip2-embeddings[arrow]'`.

>>> from siglip2_embeddings import Client, arrow                             # doctest: +SKIP
>>> with Client() as client:                                                 # doctest: +SKIP
...     column = arrow.column(client.embed_images(files, partial=True))
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ._results import FloatArray


def column(rows: FloatArray) -> pa.ListArray:
    """A list of `float32` for each row; null where `partial` has left NaN, for an image that cannot be
    decoded."""
    bad = np.isnan(rows).any(axis=1)
    # Lists of any size: PyArrow before 26 cannot read null in lists of a fixed size.
    ends = np.concatenate([[0], np.cumsum(~bad) * rows.shape[1]])
    offsets = pa.array(ends, pa.int32(), mask=np.append(bad, False))
    return pa.ListArray.from_arrays(offsets, pa.array(rows[~bad].ravel(), pa.float32()))
