"""`python -m siglip2_embeddings ARGUMENTS`: the program with these arguments."""

import sys

from ._errors import SiglipError
from .server import serve

try:
    sys.exit(serve(*sys.argv[1:]))
except SiglipError as error:
    sys.exit(f"error: {error}")
except KeyboardInterrupt:
    # The program has had the signal, too.
    sys.exit(130)
