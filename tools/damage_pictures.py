"""Damage to picture files that knows their formats: chunks, segments, blocks, tags and boxes are
left out, doubled, moved, shortened or invented, with lengths and check sums made right again, so
that a reader gets past them. Used by tools/draw_pictures.py.

`of(draw, data)` returns what was done and the file, or None for a format that has no such parts.
"""

import struct
import zlib

EDGES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 24, 31, 32, 33, 64, 127, 128, 255]
EDGES += [256, 257, 1000, 32767, 32768, 65535, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def changed(draw, body):
    """Bytes with something done to them."""
    body = bytearray(body)
    kind = draw.choice(["shorter", "longer", "empty", "byte", "byte", "field", "bit"])
    if kind == "shorter":
        del body[draw.randint(0, len(body)) :]
    elif kind == "longer":
        body += draw.choice([bytes(draw.randint(1, 9)), draw.randbytes(draw.randint(1, 9))])
    elif kind == "empty" or not body:
        body.clear()
    elif kind == "byte":
        body[draw.randrange(min(len(body), draw.choice([12, 1000])))] = draw.choice(EDGES[:19])
    elif kind == "bit":
        body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
    else:
        width = draw.choice([2, 4])
        at = draw.randrange(min(len(body), 40))
        value = draw.choice(EDGES) % (1 << 8 * width)
        body[at : at + width] = value.to_bytes(width, draw.choice(["big", "little"]))
    return bytes(body)


def shuffled(draw, parts, invented):
    """Parts left out, doubled, moved, or joined by one that `invented` makes."""
    kind = draw.choice(["out", "double", "move", "new", "new", "new"]) if parts else "new"
    at, to = draw.randrange(max(1, len(parts))), draw.randint(0, len(parts))
    if kind == "out":
        del parts[at]
    elif kind == "double":
        parts.insert(to, parts[at])
    elif kind == "move":
        parts.insert(min(to, len(parts) - 1), parts.pop(at))
    else:
        parts.insert(to, invented(draw))
    return kind


# --- PNG ------------------------------------------------------------------------


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_invented(draw):
    some = {
        b"gAMA": struct.pack(">I", draw.choice([0, 1, 45455, 100000])),
        b"cHRM": struct.pack(">8I", *[draw.choice([0, 31270, 32900])] * 8),
        b"pHYs": struct.pack(">IIB", 2835, 2835, draw.choice([0, 1, 2])),
        b"sRGB": bytes([draw.choice([0, 1, 4])]),
        b"tRNS": draw.randbytes(draw.choice([0, 1, 2, 3, 5, 6, 7, 256, 300])),
        b"PLTE": draw.randbytes(draw.choice([0, 1, 3, 6, 7, 48, 768, 771])),
        b"acTL": struct.pack(">II", draw.choice([0, 1, 2]), draw.choice([0, 1])),
        b"fcTL": struct.pack(">IIIIIHHBB", draw.choice([0, 0, 1]), *draw.choices([0, 1, 5, 20, 70], k=4), 1, 10, draw.randint(0, 3), draw.randint(0, 2)),
        b"fdAT": draw.randbytes(draw.choice([0, 3, 4, 12])),
        b"iCCP": draw.choice([b"name\0\0", b"name\0\1", b"\0\0", b"n", b""]) + draw.choice([zlib.compress(b"profile"), b"junk", b""]),
        b"zTXt": draw.choice([b"key\0\0", b"key\0\7", b"key", b""]) + draw.choice([zlib.compress(b"words"), b"junk", b""]),
        b"iTXt": draw.choice([b"key\0\0\0en\0key\0words", b"key\0\1\0en\0key\0" + zlib.compress(b"w"), b"key\0\1\0\0\0junk", b"key\0", b"\xff\0\0\0\0\0\xff"]),
        b"tEXt": draw.choice([b"key\0words", b"key", b"", b"\xff\0\xff"]),
        b"eXIf": draw.choice([b"MM\0*\0\0\0\x08\0\0", b"II*\0", b"junk", b""]),
        b"tIME": draw.randbytes(draw.choice([7, 6, 0])),
        b"bKGD": draw.randbytes(draw.choice([0, 1, 2, 6])),
        b"hIST": draw.randbytes(4),
        b"sBIT": draw.randbytes(draw.choice([0, 1, 3, 4])),
        b"IHDR": struct.pack(">IIBBBBB", 5, 4, 8, draw.choice([0, 2, 3]), 0, 0, 0),
        b"IDAT": draw.choice([b"", b"junk", zlib.compress(bytes(100))]),
        b"IEND": draw.choice([b"", b"x"]),
        b"cICP": b"\1\r\0\1",
        b"abCd": b"data",
        b"ABCD": b"data",
        b"CgBI": b"\x50\0\x20\2",
        b"\0\0\0\0": b"",
        b"MEND": b"",
    }
    return draw.choice([*some.items()])


def png(draw, data):
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    kind = draw.choice(["parts", "parts", "parts", "body", "body", "rows", "rows", "split", "check", "length"])
    names = [name for name, _ in chunks]
    coded = [n for n, name in enumerate(names) if name == b"IDAT"]
    if kind == "parts":
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            kind = shuffled(draw, chunks, png_invented)
    elif kind == "body":
        at = draw.randrange(len(chunks))
        chunks[at] = (chunks[at][0], changed(draw, chunks[at][1]))
    elif kind == "rows" and coded:
        rows = bytearray(zlib.decompress(b"".join(chunks[n][1] for n in coded)))
        what = draw.choice(["fewer", "more", "filter", "sum", "behind", "level"])
        if what == "fewer":
            del rows[draw.randint(0, len(rows)) :]
        elif what == "more":
            rows += bytes(draw.randint(1, 300))
        elif what == "filter":
            rows[draw.randrange(len(rows))] = draw.randint(0, 9)
        packed = zlib.compress(bytes(rows), draw.choice([0, 1, 9]))
        if what == "sum":
            packed = packed[: -draw.randint(1, 4)] + draw.choice([b"", b"x"])
        elif what == "behind":
            packed += draw.randbytes(draw.randint(1, 20))
        chunks[coded[0]] = (b"IDAT", packed)
        for n in reversed(coded[1:]):
            del chunks[n]
        kind = "rows " + what
    elif kind == "split" and coded:
        whole, pieces = chunks[coded[0]][1], []
        while whole:
            size = draw.choice([0, 1, 2, 3, 50, 1000])
            pieces.append((b"IDAT", whole[:size]))
            whole = whole[size:]
        if draw.random() < 0.5:
            pieces.insert(draw.randint(0, len(pieces)), png_invented(draw))
        chunks[coded[0] : coded[0] + 1] = pieces
    out = [png_chunk(*chunk) for chunk in chunks]
    at = draw.randrange(len(out))
    if kind == "check":
        out[at] = out[at][:-4] + draw.randbytes(4)
    elif kind == "length":
        length = draw.choice(EDGES)
        out[at] = struct.pack(">I", length) + out[at][4:]
    return kind, data[:8] + b"".join(out)


def gif_blocks(data):
    """The header, and each block after it."""
    colours = 3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0
    at = 13 + colours
    head, blocks = data[:at], []
    while at < len(data):
        start = at
        if data[at] == 0x3B:
            at += 1
        else:
            if data[at] == 0x2C:
                flags = data[at + 9]
                at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
            else:
                at += 2
            while at < len(data) and data[at]:
                at += 1 + data[at]
            at += 1
        blocks.append(data[start:at])
    return head, blocks


def gif_invented(draw):
    control = b"!\xf9\4" + bytes([draw.choice([0, 1, 4, 5, 9, 13])]) + b"\0\0" + bytes([draw.randint(0, 255)]) + b"\0"
    return draw.choice(
        [
            control,
            control,
            b"!\xf9\5" + draw.randbytes(5) + b"\0",
            b"!\xf9\3" + draw.randbytes(3) + b"\0",
            b"!\xf9\0",
            control[:-1] + b"\4" + draw.randbytes(4) + b"\0",
            b"!\xfe\5words\0",
            b"!\xfe\0",
            b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0",
            b"!\xff\x0bNETSCAPE2.0\0",
            b"!\xff\3abc\0",
            b"!\xff\x0bXMP DataXMP\4junk\0",
            b"!" + bytes([draw.randint(0, 255)]) + b"\3abc\0",
            b"!" + bytes([draw.randint(0, 255)]) + b"\0",
            b"!\x01\x0c" + bytes(12) + b"\2ab\0",
            bytes(draw.randint(1, 5)),
            draw.randbytes(draw.randint(1, 3)),
            b";",
            b"\x2c",
        ]
    )


def gif(draw, data):
    head, blocks = gif_blocks(data)
    kind = draw.choice(["parts", "parts", "head", "image", "image", "body"])
    if kind == "parts":
        for _ in range(draw.choice([1, 1, 2, 3])):
            kind = shuffled(draw, blocks, gif_invented)
    elif kind == "head":
        head = bytearray(head)
        at = draw.choice([3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
        head[at] = draw.choice([0, 1, 9, 0x37, 0x80, 0x87, 0xF7, 255, head[at] ^ 1])
    else:
        images = [n for n, block in enumerate(blocks) if block[0] == 0x2C]
        at = draw.choice(images if images and kind == "image" else range(len(blocks)))
        block = bytearray(blocks[at])
        if kind == "image" and len(block) > 11:
            field = draw.randint(1, 9)
            block[field] = draw.choice([0, 1, 3, 0x40, 0x80, 0x87, 0xC0, 255, block[field] ^ 1, block[field] + 1 & 255])
            if draw.random() < 0.3:
                flags = blocks[at][9]
                code = 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
                block[code] = draw.choice([0, 1, 2, 3, 7, 8, 9, 11, 12, 13, 255])
        else:
            block = bytearray(changed(draw, block))
        blocks[at] = bytes(block)
    return "gif " + kind, bytes(head) + b"".join(blocks)


def jpeg_parts(data):
    """The segments before the first scan, whole, and the rest."""
    parts, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append(data[at : at + 2 + length])
        at += 2 + length
    return parts, data[at:]


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_invented(draw):
    tiff = b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    cut = lambda body: body[: draw.randint(0, len(body))] if draw.random() < 0.5 else body
    photoshop = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", draw.choice([0x3ED, 0x404]), 0, draw.choice([0, 16, 17, 999])) + bytes(16)
    multi = b"MPF\0MM\0*\0\0\0\x08\0\3\xb0\0\0\7\0\0\0\4" + b"0100" + b"\xb0\1\0\4\0\0\0\1\0\0\0\2\xb0\2\0\7\0\0\0\x20\0\0\0\x32\0\0\0\0" + bytes(32)
    return draw.choice(
        [
            segment(0xE0, cut(b"JFIF\0\1\2" + bytes([draw.randint(0, 3)]) + b"\0\x48\0\x48\0\0")),
            segment(0xE0, cut(b"JFXX\0\x10")),
            segment(0xE0, b"AVI1\0\0"),
            segment(0xEE, cut(b"Adobe\0\x64\0\0\0\0" + bytes([draw.choice([0, 1, 2, 3, 255])]))),
            segment(0xE1, cut(b"Exif\0\0" + tiff)),
            segment(0xE1, cut(b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")),
            segment(0xE2, cut(b"ICC_PROFILE\0" + bytes([draw.choice([0, 1, 2]), draw.choice([0, 1, 2])]) + b"profile")),
            segment(0xE2, cut(multi)),
            segment(0xED, cut(photoshop)),
            segment(0xED, cut(photoshop + draw.randbytes(7))),
            segment(0xFE, cut(b"a comment")),
            segment(0xE0 + draw.randrange(16), draw.randbytes(draw.choice([0, 1, 2, 5, 12, 20]))),
            segment(0xDD, draw.choice([b"\0\1", b"\0\0", b"\0", b"\0\4x", b"\xff\xff"])),
            segment(0xDC, b"\0\x10"),
            segment(0xDB, bytes([draw.choice([0, 1, 4, 0x10, 0x20])]) + bytes(range(1, 65)) * draw.choice([1, 2])),
            segment(0xC4, bytes([draw.choice([0, 1, 0x10, 0x11, 4])]) + b"\0\1" + bytes(14) + b"\5"),
            segment(0xC0, b"\x08\0\x05\0\x05\1\1\x11\0"),
            segment(0xCC, draw.randbytes(2)),
            bytes([0xFF, draw.choice([0x01, 0xD0, 0xD7, 0xD8, 0xD9, 0xF0, 0x02, 0x5E, 0])]),
            b"\xff" * draw.randint(1, 4),
            draw.randbytes(draw.randint(1, 4)),
            b"\0" * draw.randint(1, 4),
        ]
    )


def jpeg(draw, data):
    parts, scan = jpeg_parts(data)
    kind = draw.choice(["parts", "parts", "body", "body", "frame", "scan", "end", "restart"])
    if kind == "parts":
        for _ in range(draw.choice([1, 1, 1, 2])):
            kind = shuffled(draw, parts, jpeg_invented)
    elif kind in ("body", "frame"):
        frames = [n for n, part in enumerate(parts) if 0xC0 <= part[1] <= 0xCF and part[1] not in (0xC4, 0xCC)]
        at = draw.choice(frames if kind == "frame" and frames else range(len(parts)))
        part = bytearray(parts[at])
        body = part[4:]
        if kind == "frame" and len(body) > 6:
            body[draw.randrange(len(body))] = draw.choice([0, 1, 2, 3, 4, 8, 12, 0x11, 0x12, 0x14, 0x21, 0x22, 0x31, 0x33, 0x41, 0x42, 0x44, 255])
            if draw.random() < 0.3:
                part[1] = draw.choice([0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA])
        else:
            body = changed(draw, body)
        parts[at] = segment(part[1], bytes(body))
    elif kind == "scan":
        scan = bytearray(scan)
        length = int.from_bytes(scan[2:4], "big")
        scan[draw.randrange(2, min(len(scan), length + 2))] = draw.choice([0, 1, 2, 3, 4, 6, 8, 10, 12, 0x10, 0x11, 0x22, 62, 63, 64, 255])
    elif kind == "end":
        scan = scan.removesuffix(b"\xff\xd9")
        if draw.random() < 0.4:
            scan = scan[: len(scan) - draw.randint(0, min(40, len(scan) - 14))]
        scan += draw.choice([b"", b"\0", bytes(20), b"\r\n", b"\n", b"--boundary--\r\n", b"\xff", b"\xff\xff", b"\xff\0", b"\xff\xd8", b"\xff\xda", b"\xff\xd0" * 3, b"\xff\xd9\xff\xd9", b"text" * 200, draw.randbytes(30)])
    else:
        at = draw.randrange(len(scan))
        scan = scan[:at] + bytes([0xFF, draw.choice([0xD0, 0xD1, 0xD3, 0xD7, 0xD9, 0xDA, 0xC4, 0xE1, 1])]) + scan[at + draw.choice([0, 2]) :]
    return "jpeg " + kind, data[:2] + b"".join(parts) + bytes(scan)


def riff_chunk(kind, body, length=None):
    length = len(body) if length is None else length
    return kind + struct.pack("<I", length) + body + b"\0" * (len(body) % 2)


def webp_invented(draw):
    name = draw.choice([b"EXIF", b"XMP ", b"ICCP", b"ALPH", b"ANIM", b"ABCD", b"VP8X", b"FRGM", b"ANMF"])
    body = draw.choice([b"", b"x", b"\0", bytes(6), bytes(10), draw.randbytes(16), bytes([draw.choice([0x10, 0x3E, 2])]) + bytes(9)])
    return name, body


def webp(draw, data):
    chunks, at = [], 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    kind = draw.choice(["parts", "parts", "flags", "flags", "body", "length", "riff"])
    if chunks[0][0] != b"VP8X" and draw.random() < 0.6:
        name, body = chunks[0]
        if name == b"VP8 ":
            width, height = (int.from_bytes(body[n : n + 2], "little") & 0x3FFF for n in (6, 8))
        else:
            bits = int.from_bytes(body[1:5], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        width, height = (max(1, side + draw.choice([0, 0, 0, 0, 1, -1])) for side in (width, height))
        flags = draw.choice([0, 0x04, 0x08, 0x10, 0x20, 0x02, 0x3C, 0xFF, 0x0C])
        chunks.insert(0, (b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")))
    if kind == "parts":
        for _ in range(draw.choice([1, 1, 2])):
            kind = shuffled(draw, chunks, webp_invented)
    elif kind == "flags" and chunks[0][0] == b"VP8X":
        body = bytearray(chunks[0][1])
        body[0] = draw.randint(0, 255) if draw.random() < 0.5 else body[0] ^ 1 << draw.randrange(8)
        chunks[0] = (b"VP8X", bytes(body))
    elif kind == "body":
        at = draw.randrange(len(chunks))
        chunks[at] = (chunks[at][0], changed(draw, chunks[at][1]))
    out = [riff_chunk(*chunk) for chunk in chunks]
    if kind == "length" and out:
        at = draw.randrange(len(out))
        length = int.from_bytes(out[at][4:8], "little") + draw.choice([-2, -1, 1, 2, 1000, 1 << 30])
        out[at] = out[at][:4] + struct.pack("<I", max(0, length)) + out[at][8:]
    body = b"WEBP" + b"".join(out)
    size = len(body)
    if kind == "riff":
        size = max(0, size + draw.choice([-9, -2, -1, 1, 2, 8, 1000, -size, -size + 4]))
    tail = draw.choice([b"", b"", b"", b"\0", b"junk" * 4])
    return "webp " + kind, b"RIFF" + struct.pack("<I", size) + body + tail


TAGS = [254, 255, 256, 257, 258, 259, 262, 263, 266, 269, 273, 274, 277, 278, 279, 280, 281, 282, 284, 285, 292, 296]
TAGS += [297, 301, 305, 317, 318, 320, 322, 323, 324, 325, 330, 332, 334, 338, 339, 340, 347, 512, 513, 514, 529, 530]
TAGS += [531, 532, 700, 33723, 34377, 34665, 34675, 37724, 50838]
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def tiff(draw, data):
    """Entries of the first directory: changed where they lie; one may be left out or invented."""
    order = "<" if data[:2] == b"II" else ">"
    number = struct.unpack(order + "H", data[2:4])[0]
    big = number == 43
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    head, size = (8, 20) if big else (2, 12)
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    entries = [bytearray(data[start + head + n * size : start + head + (n + 1) * size]) for n in range(count)]
    rest = data[start + head + count * size :]
    kind = draw.choice(["value", "value", "value", "value", "type", "count", "out", "tag", "new", "data", "order"])
    entry = draw.choice(entries)
    tag, type, amount = struct.unpack_from(order + ("HHQ" if big else "HHI"), entry)
    place = 12 if big else 8
    inside = SIZES.get(type, 1) * amount <= size - place
    if kind == "value" and not inside:
        at = struct.unpack_from(order + ("Q" if big else "I"), entry, place)[0]
        whole = bytearray(data)
        if type in (3, 4) and at + 4 < len(whole):
            at += draw.randrange(amount) * SIZES[type]
            code = "H" if type == 3 else "I"
            now = struct.unpack_from(order + code, whole, at)[0]
            value = draw.choice([now - 1, now + 1, now * 2, *EDGES]) % (1 << 8 * SIZES[type])
            struct.pack_into(order + code, whole, at, value)
        elif at < len(whole):
            whole[at] = draw.choice(EDGES[:19])
        return f"tiff value {tag}", bytes(whole)
    if kind == "value":
        width = {1: "B", 2: "B", 3: "H", 4: "I", 16: "Q"}.get(type, "B")
        now = struct.unpack_from(order + width, entry, place)[0]
        value = draw.choice([now - 1, now + 1, now * 2, *range(10), *EDGES, 32773, 32946, 50000, 34925, 6, 7, 34712, 34713, 32809, 32908])
        struct.pack_into(order + width, entry, place, value % (1 << 8 * struct.calcsize(width)))
    elif kind == "type":
        value = int.from_bytes(entry[place : place + SIZES.get(type, 1)], "little" if order == "<" else "big")
        type = draw.randint(0, 14)
        struct.pack_into(order + "H", entry, 2, type)
        width = {1: "B", 6: "B", 3: "H", 8: "H", 4: "I", 9: "I", 13: "I"}.get(type)
        if width and draw.random() < 0.8:
            struct.pack_into(order + width, entry, place, value % (1 << 8 * struct.calcsize(width)))
    elif kind == "count":
        struct.pack_into(order + ("Q" if big else "I"), entry, 4, draw.choice([0, 1, 2, 3, 4, amount + 1, max(0, amount - 1), 1000, 0x7FFFFFFF]))
    elif kind == "tag":
        struct.pack_into(order + "H", entry, 0, draw.choice(TAGS))
    elif kind == "data":
        return "tiff data", data[: start] + changed(draw, data[start:])
    elif kind == "order" and len(entries) > 1:
        at = draw.randrange(len(entries) - 1)
        entries[at], entries[at + 1] = entries[at + 1], entries[at]
    if kind in ("out", "new"):
        # The number of entries changes, so the directory moves to the end.
        if kind == "out":
            entries.remove(entry)
        else:
            type = draw.choice([1, 3, 3, 3, 4, 7, 2, 5])
            new = struct.pack(order + ("HHQ" if big else "HHI"), draw.choice(TAGS), type, draw.choice([1, 1, 1, 2, 3]))
            value = struct.pack(order + {3: "H", 4: "I"}.get(type, "B"), draw.choice([0, 1, 2, 3, 4, 5, 6, 8, 16, 32]))
            entries.append(bytearray((new + value + bytes(8))[:size]))
            entries.sort(key=lambda it: struct.unpack_from(order + "H", it)[0])
        where = len(data) + len(data) % 2
        body = struct.pack(order + ("Q" if big else "H"), len(entries)) + b"".join(map(bytes, entries)) + bytes(8)
        file = bytearray(data + bytes(len(data) % 2) + body)
        struct.pack_into(order + ("Q" if big else "I"), file, 8 if big else 4, where)
        return "tiff " + kind, bytes(file)
    file = data[: start + head] + b"".join(map(bytes, entries)) + rest
    return f"tiff {kind} {tag}", file


BOXES = [b"meta", b"iprp", b"ipco", b"dinf", b"moov", b"trak", b"mdia", b"minf", b"stbl"]


def boxes(data, at, end):
    """(start, head, end) of each box, those inside others too."""
    while at + 8 <= end:
        length = int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        if length == 0:
            length = end - at
        if length < 8 or at + length > end:
            return
        yield at, name, at + length
        if name in BOXES:
            yield from boxes(data, at + (12 if name == b"meta" else 8), at + length)
        at += length


def avif(draw, data):
    found = list(boxes(data, 0, len(data)))
    kind = draw.choice(["name", "field", "field", "byte", "free", "end", "brand"])
    inner = [box for box in found if box[1] not in (b"mdat", b"ftyp")]
    start, name, end = draw.choice(inner or found)
    out = bytearray(data)
    if kind == "name":
        out[start + 4 : start + 8] = draw.choice([b"free", b"skip", b"uuid", draw.choice(found)[1]])
    elif kind == "free":
        # Anything may stand between boxes of a file; offsets of data are from its start.
        out[start + 4 : start + 8] = b"free"
    elif kind == "field":
        at = draw.randrange(start + 8, max(end, start + 9))
        width = draw.choice([1, 2, 4])
        out[at : at + width] = (draw.choice(EDGES) % (1 << 8 * width)).to_bytes(width, "big")
    elif kind == "byte":
        out[min(len(out) - 1, draw.randrange(start, end))] ^= 1 << draw.randrange(8)
    elif kind == "end":
        out += draw.choice([b"\0\0\0\x08free", b"\0\0\0\0free", b"junk", bytes(9), b"\0\0\0\x10mdat" + bytes(8)])
    elif kind == "brand":
        at = draw.choice([8, 12, 16, 20])
        out[at : at + 4] = draw.choice([b"avif", b"avis", b"mif1", b"heic", b"msf1", bytes(4)])
    return f"avif {kind} {name.decode('latin1')}", bytes(out)


def head(draw, data, length):
    """Fields of a header that lies at the start."""
    out = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2])):
        at, width = draw.randrange(min(length, len(out))), draw.choice([1, 1, 2, 4])
        value = draw.choice(EDGES) % (1 << 8 * width)
        if draw.random() < 0.5:
            value = (int.from_bytes(out[at : at + width], "little") + draw.choice([-1, 1])) % (1 << 8 * width)
        out[at : at + width] = value.to_bytes(width, draw.choice(["big", "little"]))
    return "head", bytes(out)


def text(draw, data):
    """Words, lines and spaces of a format that is text at its start."""
    words = [b" ", b"\n", b"\t", b"\r\n", b"#c\n", b"# ", b"/* */", b'"', b",", b"0", b"-1", b"1 ", b"255", b"256", b"65535"]
    words += [b"65536", b"99999999999", b"0x", b"0xFF", b"+2", b" 3", b"};", b"{", b"static char", b"#define x", b"\0", b"\xff", b"\x0b", b"\x0c"]
    at = draw.randrange(min(len(data), draw.choice([20, 120, 2000])))
    kind = draw.choice(["word", "word", "line", "twice", "spaces"])
    if kind == "word":
        return "text word", data[:at] + draw.choice(words) + data[at + draw.choice([0, 0, 1, 2]) :]
    if kind == "spaces":
        return "text spaces", data.replace(draw.choice([b" ", b"\n"]), draw.choice([b"  ", b"\n", b"\t", b"\r\n", b" \n"]), draw.choice([1, 2, -1]))
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    if kind == "line":
        del lines[at]
    else:
        lines.insert(at, lines[at])
    return "text " + kind, b"\n".join(lines)


HEADS = {"bmp": 60, "ico": 70, "cur": 70, "tga": 30, "qoi": 16, "pcx": 128, "sgi": 112, "sun": 36, "dds": 150, "icns": 40}
PARTS = {"png": png, "gif": gif, "jpeg": jpeg, "webp": webp, "vp8": webp, "tiff": tiff, "avif": avif}


def of(draw, format, data):
    if format in PARTS:
        return PARTS[format](draw, data)
    if format in ("xbm", "xpm") or (format == "pnm" and draw.random() < 0.7):
        return text(draw, data)
    return head(draw, data, HEADS.get(format, 64))
