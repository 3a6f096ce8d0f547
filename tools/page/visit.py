"""A visit of the page, on which nothing may go wrong that was not meant to."""

import contextlib
import zlib
import struct

# Milliseconds; longer than anything should take beside a load on all cores.
PATIENCE = 30_000


@contextlib.contextmanager
def visit(browser, service, path="/", *, width=1280, height=860, dark=False, expected=(), **options):
    """A page at this path. Afterwards: no error on its console but those that begin with one of
    `expected`, no breach of its policy, no request to anybody else."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, **options
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    wrong, strangers = [], []

    def heard(message):
        known = any(message.text.startswith(text) for text in expected)
        if message.type in ("error", "warning") and not known:
            wrong.append(f"{message.text} at {message.location}")

    def asked(request):
        if not request.url.startswith((service.url, "blob:", "data:")):
            strangers.append(request.url)

    page.on("console", heard)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", asked)
    page.goto(service.url + path)
    yield page
    assert not wrong, wrong
    assert not strangers, strangers
    context.close()


def refused(status: int) -> str:
    """What Chromium writes on the console when an answer has this status."""
    return f"Failed to load resource: the server responded with a status of {status} "


def load_samples(page) -> None:
    """Loads the sample pictures and waits until all are embedded."""
    page.click("#samples")
    embedded(page, 24)


def embedded(page, pictures: int) -> None:
    """Waits until so many pictures have a vector, and nothing is under way."""
    page.wait_for_function(
        "count => document.querySelectorAll('.thumb.done').length === count"
        " && document.getElementById('cancel').hidden",
        arg=pictures,
    )


def png(number: int, side: int = 48) -> bytes:
    """A small picture, different for each number."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    colour = bytes([number * 37 % 256, number * 91 % 256, number % 256])
    row = b"\0" + colour * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(row * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def file(name: str, content: bytes, kind: str = "image/png") -> dict:
    return {"name": name, "mimeType": kind, "buffer": content}


def ask_api(page, path: str, fields: dict) -> dict:
    """What the API answers to a form with all sample pictures and these fields."""
    return page.evaluate(
        """async ({ path, fields }) => {
          const body = new FormData();
          const listed = await (await fetch('assets/samples/samples.json')).json();
          for (const { file } of listed) {
            body.append('files', await (await fetch(`assets/samples/${file}`)).blob(), file);
          }
          for (const [name, value] of Object.entries(fields)) body.append(name, value);
          return (await fetch(path, { method: 'POST', body })).json();
        }""",
        {"path": path, "fields": fields},
    )
