"""What can go wrong. Every error is a `SiglipError`, and says in a sentence what happened."""

from __future__ import annotations


class SiglipError(Exception):
    """The service cannot be reached, or does not do what it is asked."""


class Unreachable(SiglipError):
    """No answer came, however often it was tried within the timeout."""


class ImageError(SiglipError):
    """Something was given as an image that is none: no file, or an array of another shape."""


class ServiceError(SiglipError):
    """The service refused. `status` is HTTP's, `detail` the service's own sentence."""

    def __init__(
        self, status: int, detail: str, request_id: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(f"{status}: {detail}" if url is None else f"{url}: {status}: {detail}")
        self.status = status
        self.detail = detail
        self.request_id = request_id
        """What the service's log calls the request."""
        self.url = url
        """What was asked; of several services, the one that refused last."""
        self.offset = 0
        """How many items of a list went in the requests before: what `detail` calls `files[3]` is item
        `offset + 3` of the list."""

    def begins_at(self, offset: int) -> None:
        """Takes note that the request began with this item of a list."""
        self.offset = offset
        if offset and "[" in self.detail:
            self.args = (f"{self.args[0]} (counted from item {offset} of the list)",)


class FingerprintMismatch(ServiceError):
    """The vectors are not of the space that was expected, so none are handed out: the service runs
    another model, or the same one in another precision. Of several services, none has the right
    one."""
