"""Images as the service takes them: the bytes of a file."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from ._errors import ImageError

if TYPE_CHECKING:
    from PIL import Image as PillowImage

Image = Union[
    str,
    "os.PathLike[str]",
    bytes,
    bytearray,
    memoryview,
    "npt.NDArray[np.uint8]",
    "PillowImage.Image",
]
"""A path, the bytes of a file, an array of `uint8` (height x width x 3 in RGB, or height x width in
grey), or an image of Pillow."""


def file_of(image: Image) -> bytes:
    """The file of an image. Pixels become a BMP: nothing is lost, and nothing is compressed only to
    be decompressed a moment later."""
    if isinstance(image, (str, os.PathLike)):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise ImageError(f"{os.fspath(image)}: {error.strerror}") from error
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, np.ndarray):
        return _bmp(image)
    if hasattr(image, "convert") and hasattr(image, "save"):
        # As the service and transformers treat a file: alpha and palettes end here.
        written = io.BytesIO()
        image.convert("RGB").save(written, "BMP")
        return written.getvalue()
    raise ImageError(
        f"{type(image).__name__} is not an image: give a path, the bytes of a file, an array of "
        "uint8, or an image of Pillow"
    )


def _bmp(pixels: npt.NDArray[Any]) -> bytes:
    if pixels.dtype != np.uint8:
        raise ImageError(f"an array of pixels is of uint8, 0 to 255, and this one of {pixels.dtype}")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ImageError(
            f"an array of pixels is height x width x 3 (RGB) or height x width (grey), and this one "
            f"{' x '.join(map(str, pixels.shape))}"
        )
    height, width, _ = pixels.shape
    # Rows from the bottom up, blue first, each filled up to a multiple of four bytes.
    stride = (3 * width + 3) // 4 * 4
    rows = np.zeros((height, stride), np.uint8)
    rows[:, : 3 * width] = pixels[::-1, :, ::-1].reshape(height, 3 * width)
    offset = 14 + 40
    head = struct.pack("<2sIHHI", b"BM", offset + rows.size, 0, 0, offset)
    head += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, rows.size, 0, 0, 0, 0)
    return head + rows.tobytes()
