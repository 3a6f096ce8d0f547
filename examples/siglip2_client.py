"""Embeds pictures on one or several running services, over the binary form of docs/vectors.md.

What the examples beside this file have in common. It needs NumPy and PyArrow. A request that a
service refuses because it is full or starting, or that is lost with the service, is sent to
the next one, for as long as `patience`. Embedding changes nothing, so it may be sent again.
"""

import http.client
import random
import struct
import time
import urllib.error
import urllib.request

import numpy as np
import pyarrow as pa

# Full, starting, draining, or a proxy without a service: another may do, or the same one later.
LATER = (429, 502, 503, 504)

# What one request may have: at most --payload-limit and --max-images-per-request of the services.
BODY, IMAGES = 32 << 20, 32


class Siglip2:
    """A client of services that all have the same model."""

    def __init__(self, urls, fingerprint=None, key=None, patience=600):
        """A service whose vectors have another fingerprint than this is refused by its answer."""
        self.urls = list(urls)
        # Clients that start together do not all begin with the same service.
        random.shuffle(self.urls)
        self.patience = patience
        self.headers = {"Content-Type": "application/octet-stream"}
        self.headers["Accept"] = "application/octet-stream"
        if fingerprint:
            self.headers["X-Expect-Fingerprint"] = fingerprint
        if key:
            self.headers["Authorization"] = f"Bearer {key}"

    def fingerprint(self):
        """What the vectors of the services can be compared with; keep it beside them."""
        _, headers = self._ask("/embed/images", b"", self.headers)
        return headers["X-Embedding-Fingerprint"]

    def embed(self, pictures):
        """One row for each picture, given as a file's bytes; NaN where a file is no picture."""
        parts, size = [[]], 0
        for file in pictures:
            if size + len(file) > BODY or len(parts[-1]) == IMAGES:
                parts.append([])
                size = 0
            parts[-1].append(struct.pack("<I", len(file)) + file)
            size += len(file)
        rows = []
        for part in parts:
            answer, headers = self._ask("/embed/images?partial=true", b"".join(part), self.headers)
            shape = [int(side) for side in headers["X-Embedding-Shape"].split(",")]
            rows.append(np.frombuffer(answer, "<f4").reshape(shape))
        return np.concatenate(rows)

    def column(self, pictures):
        """The rows as a column of Arrow, null where a file is no picture."""
        rows = self.embed(pictures)
        bad = np.isnan(rows).any(axis=1)
        # Lists of any size: PyArrow before 26 cannot read null in lists of a fixed size.
        ends = np.concatenate([[0], np.cumsum(~bad) * rows.shape[1]])
        offsets = pa.array(ends, pa.int32(), mask=np.append(bad, False))
        return pa.ListArray.from_arrays(offsets, pa.array(rows[~bad].ravel()))

    def _ask(self, path, body, headers):
        end = time.monotonic() + self.patience
        pause = 0.1
        while True:
            self.urls.append(self.urls.pop(0))
            request = urllib.request.Request(self.urls[0] + path, body, headers)
            try:
                with urllib.request.urlopen(request, timeout=self.patience) as answer:
                    return answer.read(), answer.headers
            except urllib.error.HTTPError as error:
                if error.code not in LATER:
                    raise RuntimeError(f"{error.code}: {error.read().decode()}") from error
                last = error
            except (OSError, http.client.HTTPException) as error:
                last = error  # it was lost with the service
            if time.monotonic() > end:
                raise TimeoutError(f"no service of {self.urls} answers") from last
            time.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, 5)
