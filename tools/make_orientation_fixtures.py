"""Pictures with an orientation in their metadata, and what Pillow makes of them when it is
applied: the expected results of crates/image/tests/it/orientation.rs.

    python tools/make_orientation_fixtures.py

Needs numpy and Pillow 13.0.0, and writes tests/fixtures/orientation.json: for each picture its
bytes in base64, and width, height and the SHA-256 (the first 32 digits) of the RGB bytes of
ImageOps.exif_transpose(Image.open(f)).convert("RGB").
"""

import base64
import hashlib
import io
import json
import pathlib
import struct
import warnings
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps, PngImagePlugin

OUT = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "orientation.json"
FILES = {}
warnings.simplefilter("ignore")


def picture(width=13, height=9):
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 19, y * 28, (x * y) % 256], -1).astype(np.uint8))


def entry(order, tag, kind, count, value):
    return struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")[:4]


def exif(value, order="<", kind=3, count=1, before=(), behind=b"", header=None):
    """EXIF data with the orientation behind other entries; `value` is bytes of 4."""
    header = header or (b"II*\0" if order == "<" else b"MM\0*")
    entries = [*before, entry(order, 274, kind, count, value)]
    body = struct.pack(order + "H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    return header + struct.pack(order + "I", 8) + body + behind


def short(tag, order="<"):
    return struct.pack(order + "H", tag)


def xmp(text):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
        '"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description ' + text + "/></rdf:RDF></x:xmpmeta>"
    ).encode()


def jpeg(*segments):
    out = io.BytesIO()
    picture().save(out, "JPEG", quality=90)
    data = out.getvalue()
    app1 = b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments)
    return data[:20] + app1 + data[20:]


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(before=(), behind=()):
    out = io.BytesIO()
    picture().save(out, "PNG")
    data = out.getvalue()
    end = data.index(b"IEND") - 4
    pieces = [chunk(*c) for c in before], [chunk(*c) for c in behind]
    return data[:33] + b"".join(pieces[0]) + data[33:end] + b"".join(pieces[1]) + data[end:]


def webp(chunks, flags, lossless=True):
    out = io.BytesIO()
    picture().save(out, "WEBP", lossless=lossless)
    data = out.getvalue()
    body = data[12:]
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + bytes([12, 0, 0, 8, 0, 0])
    extra = b"".join(k + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for k, b in chunks)
    inner = b"WEBP" + vp8x + body + extra
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def tiff(tag=None, xmp_data=None, kind=3):
    """13 x 9 RGB pixels, uncompressed, written by hand."""
    pixels = picture().tobytes()
    start = 8 + len(pixels)
    entries = [
        entry("<", 256, 3, 1, short(13)),
        entry("<", 257, 3, 1, short(9)),
        entry("<", 258, 3, 1, short(8)),
        entry("<", 259, 3, 1, short(1)),
        entry("<", 262, 3, 1, short(2)),
        entry("<", 273, 4, 1, struct.pack("<I", 8)),
    ]
    if tag is not None:
        entries.append(entry("<", 274, kind, 1, short(tag)))
    entries += [
        entry("<", 277, 3, 1, short(3)),
        entry("<", 278, 3, 1, short(9)),
        entry("<", 279, 4, 1, struct.pack("<I", len(pixels))),
    ]
    count = len(entries) + (xmp_data is not None)
    behind = start + 2 + 12 * count + 4
    if xmp_data is not None:
        entries.append(entry("<", 700, 1, len(xmp_data), struct.pack("<I", behind)))
    # One depth for three samples is not what Pillow takes.
    depths = behind + len(xmp_data or b"")
    entries[2] = entry("<", 258, 3, 3, struct.pack("<I", depths))
    head = b"II*\0" + struct.pack("<I", start) + pixels
    body = struct.pack("<H", count) + b"".join(entries) + b"\0\0\0\0"
    return head + body + (xmp_data or b"") + short(8) * 3


def make():
    word = b"Exif\0\0"
    for tag in range(0, 10):
        FILES[f"jpeg {tag}"] = jpeg(word + exif(short(tag)))
        FILES[f"png {tag}"] = png([(b"eXIf", exif(short(tag)))])
        FILES[f"webp {tag}"] = webp([(b"EXIF", exif(short(tag)))], 8)
        FILES[f"tiff {tag}"] = tiff(tag)
    six, three = short(6), short(3)
    FILES["webp lossy"] = webp([(b"EXIF", exif(six))], 8, False)
    FILES["webp exif word"] = webp([(b"EXIF", word + exif(six))], 8)
    FILES["webp not announced"] = webp([(b"EXIF", exif(six))], 0)
    FILES["webp two"] = webp([(b"EXIF", exif(six)), (b"EXIF", exif(three))], 8)
    FILES["webp xmp"] = webp([(b"XMP ", xmp('tiff:Orientation="6"'))], 4)
    FILES["webp xmp not announced"] = webp([(b"XMP ", xmp('tiff:Orientation="6"'))], 8)
    FILES["jpeg big-endian"] = jpeg(word + exif(short(6, ">"), ">"))
    FILES["jpeg swapped header"] = jpeg(word + exif(six, header=b"II\0*"))
    FILES["jpeg word twice"] = jpeg(word + word + exif(six))
    for kind, value in (
        (1, b"\6"),
        (2, b"6"),
        (4, struct.pack("<I", 6)),
        (6, b"\6"),
        (7, b"\6"),
        (8, six),
        (9, struct.pack("<I", 6)),
        (11, struct.pack("<f", 6)),
        (11, struct.pack("<f", 6.5)),
        (13, struct.pack("<I", 6)),
        (17, six),
        (99, six),
    ):
        FILES[f"jpeg kind {kind} {value.hex()}"] = jpeg(word + exif(value, kind=kind))
    for kind, value in ((5, struct.pack("<II", 12, 2)), (10, struct.pack("<ii", 6, 1)), (12, struct.pack("<d", 6))):
        FILES[f"jpeg kind {kind}"] = jpeg(word + exif(struct.pack("<I", 26), kind=kind, behind=value))
    FILES["jpeg count 2"] = jpeg(word + exif(six + three, count=2))
    FILES["jpeg count 3"] = jpeg(word + exif(struct.pack("<I", 26), count=3, behind=six + three + six))
    FILES["jpeg twice"] = jpeg(word + exif(six, before=[entry("<", 274, 3, 1, three)]))
    FILES["jpeg unknown kind first"] = jpeg(word + exif(six, before=[entry("<", 274, 99, 1, three)]))
    FILES["jpeg behind text"] = jpeg(word + exif(six, before=[entry("<", 271, 2, 4, b"abc")]))
    FILES["jpeg behind missing"] = jpeg(word + exif(six, before=[entry("<", 271, 2, 900, b"\xff\xff")]))
    whole = exif(six, before=[entry("<", 271, 2, 4, b"abc")], behind=b"xyz" * 20)
    FILES["jpeg in two segments"] = jpeg(word + whole[:25], word + whole[25:])
    FILES["jpeg cut in entry"] = jpeg(word + whole[:30])
    FILES["jpeg cut before next"] = jpeg(word + exif(six)[:-4])
    FILES["jpeg no entries"] = jpeg(word + b"II*\0\x08\0\0\0\0\0\0\0\0\0")
    FILES["jpeg offset outside"] = jpeg(word + b"II*\0\xff\0\0\0")
    ns = b"http://ns.adobe.com/xap/1.0/\0"
    FILES["jpeg xmp"] = jpeg(ns + xmp('tiff:Orientation="6"'))
    FILES["jpeg xmp element"] = jpeg(ns + xmp("x='y'/><tiff:Orientation>8</tiff:Orientation><a"))
    FILES["jpeg xmp single quotes"] = jpeg(ns + xmp("tiff:Orientation='6'"))
    FILES["jpeg xmp second match"] = jpeg(ns + xmp("tiff:Orientation='6' tiff:Orientation=\"5\""))
    FILES["jpeg xmp 12"] = jpeg(ns + xmp('tiff:Orientation="12"'))
    FILES["jpeg xmp last"] = jpeg(ns + xmp('tiff:Orientation="6"'), ns + xmp('tiff:Orientation="3"'))
    FILES["jpeg exif before xmp"] = jpeg(word + exif(three), ns + xmp('tiff:Orientation="6"'))
    FILES["jpeg exif without it, xmp"] = jpeg(
        word + exif(six).replace(struct.pack("<H", 274), struct.pack("<H", 275)), ns + xmp('tiff:Orientation="6"')
    )
    FILES["jpeg exif of 1, xmp"] = jpeg(word + exif(short(1)), ns + xmp('tiff:Orientation="6"'))
    raw = exif(six)
    text = f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()
    FILES["png behind"] = png(behind=[(b"eXIf", exif(six))])
    FILES["png two"] = png([(b"eXIf", exif(three))], [(b"eXIf", exif(six))])
    FILES["png raw profile"] = png([(b"tEXt", b"Raw profile type exif\0" + text)])
    FILES["png packed raw profile"] = png([(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))])
    FILES["png raw profile behind"] = png(behind=[(b"tEXt", b"Raw profile type exif\0" + text)])
    FILES["png raw profile and exif"] = png([(b"tEXt", b"Raw profile type exif\0" + text), (b"eXIf", exif(three))])
    FILES["png exif as text"] = png([(b"tEXt", b"exif\0" + raw)])
    name = b"XML:com.adobe.xmp\0"
    FILES["png xmp"] = png([(b"iTXt", name + b"\0\0\0\0" + xmp('tiff:Orientation="6"'))])
    packed = zlib.compress(xmp('tiff:Orientation="8"'))
    FILES["png packed xmp"] = png([(b"iTXt", name + b"\1\0\0\0" + packed)])
    FILES["png xmp as text"] = png([(b"tEXt", name + xmp('tiff:Orientation="6"'))])
    FILES["tiff xmp"] = tiff(None, xmp('tiff:Orientation="6"'))
    FILES["tiff xmp and tag"] = tiff(3, xmp('tiff:Orientation="6"'))
    FILES["tiff tag of bytes, xmp"] = tiff(3, xmp('tiff:Orientation="6"'), kind=1)
    FILES["tiff none"] = tiff()
    for form in ("GIF", "BMP"):
        out = io.BytesIO()
        picture().save(out, form)
        FILES[form.lower()] = out.getvalue()


def main():
    assert PIL.__version__ == "13.0.0", PIL.__version__
    assert PngImagePlugin
    make()
    lines = []
    for name, data in FILES.items():
        rgb = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        row = {
            "name": name,
            "width": rgb.width,
            "height": rgb.height,
            "sha256": hashlib.sha256(rgb.tobytes()).hexdigest()[:32],
            "file": base64.b64encode(data).decode(),
        }
        lines.append(json.dumps(row))
    OUT.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    turned = sum('"width": 9' in line for line in lines)
    print(len(lines), "pictures,", turned, "with their sides swapped,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
