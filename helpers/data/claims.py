"""What an image file says of itself beside its pixels: manifests of provenance, generators' settings, the camera.

All of it can be written, changed or taken out by anybody in a second; so every claim carries a sentence on what it
shows and one on what it does not show. Only lengths and names are followed, nothing is run, no signature is trusted
or checked, and each text has a bound. Sources: C2PA 2.1, section "Embedding manifests"; ISO/IEC 19566-5 (JUMBF);
IPTC's vocabulary of digital source types; PNG (W3C), RIFF and ISO base media containers.
"""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Literal

from PIL import ExifTags
from PIL import Image as PillowImage

from helpers.errors import printable

__all__ = ["Claim", "ClaimKind", "read_claims"]

ClaimKind = Literal["c2pa", "source type", "generator", "camera", "software", "screenshot"]

MOST_BLOCKS = 4096
"""Segments or chunks that are followed in one file."""
MOST_BYTES = 1 << 20
"""Of one block, inflated or not, that are looked at."""
SHOWN = 120
"""Characters of a claim that are shown."""

_WORDS = re.compile(
    r"stable.?diffusion|midjourney|dall.?e\b|comfyui|invokeai|novelai|firefly|automatic1111|openai|chatgpt|imagen\b"
    r"|gemini|made with google ai|flux\.|black forest labs|sd-metadata|diffusers|fooocus|swarmui|leonardo\.ai|ideogram",
    re.IGNORECASE,
)
_SETTINGS = re.compile(r"\bSteps: \d+.*\b(?:Sampler|CFG scale|Seed): ", re.DOTALL)
_GRAPH = re.compile(r"class_type|\"nodes\"|KSampler", re.IGNORECASE)
_SOURCE_TYPE = re.compile(rb"(compositeWithTrained|trained)?[aA]lgorithmicMedia|digitalCapture|computationalCapture")
_KEYS = ("parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "dream", "generation_data")
_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_SAYS = {
    "c2pa": (
        "The file carries a manifest of provenance, which names who signed what was done.",
        "The signature is not checked here; without a check the manifest may have been copied or made by anybody.",
    ),
    "source type": (
        "Somebody, or a program, labelled the picture with this kind of source.",
        "The label is plain text that anybody can write; that it is missing says nothing.",
    ),
    "generator": (
        "A program for generated pictures writes such text, so the file most likely passed through one.",
        "The text can be added to any photograph and taken out of any generated picture; the program may have edited a "
        "part alone.",
    ),
    "camera": (
        "The file names a camera, as cameras and editors write it.",
        "The name can be copied into any file, so it is no sign that a camera made these pixels.",
    ),
    "software": (
        "The file names a program that wrote or edited it.",
        "Most editing is harmless, and the name can be written by anybody.",
    ),
    "screenshot": (
        "The file says that it is a screenshot: its pixels come from a screen.",
        "What was on the screen may have been a photograph or a generated picture.",
    ),
}


@dataclass(frozen=True)
class Claim:
    """One thing that a file says of itself.

    Attributes:
        kind: Of claim.
        where: In which part of the file it stands.
        text: What it says, without control characters, cut after some length.
        shows: One sentence: what may be concluded.
        does_not_show: One sentence: what may not.
    """

    kind: ClaimKind
    where: str
    text: str
    shows: str
    does_not_show: str

    @property
    def sentences(self) -> str:
        """All of it, to be read."""
        return f"{self.where}: {self.text}. {self.shows} {self.does_not_show}"

    def to_dict(self) -> dict[str, str]:
        """Return plain values for JSON."""
        return asdict(self)


def read_claims(data: bytes) -> list[Claim]:
    """Read what a file says of itself.

    Args:
        data: Content of an image file; damaged or hostile bytes give fewer claims, never an error.

    Returns:
        Claims in the order of the file, each once.
    """
    found: dict[tuple[str, str], Claim] = {}
    with (
        suppress(Exception),
        warnings.catch_warnings(),
    ):  # a parser of hostile bytes may raise anything; what was read before stays
        warnings.simplefilter("ignore")
        for number, (name, body) in enumerate(_blocks(data)):
            if number >= MOST_BLOCKS:
                break
            for kind, where, text in _read(name, body):
                found.setdefault((kind, text), _claim(kind, where, text))
    return list(found.values())


def _claim(kind: ClaimKind, where: str, text: str) -> Claim:
    shown = printable(" ".join(text.split()))
    shown = shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"
    return Claim(kind, where, shown, *_SAYS[kind])


Found = Iterator[tuple[ClaimKind, str, str]]

# Containers: name and content of every block


def _blocks(data: bytes) -> Iterator[tuple[str, bytes]]:
    if data.startswith(b"\xff\xd8"):
        return _jpeg_blocks(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_blocks(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _riff_blocks(data)
    if data[4:8] == b"ftyp":
        return _media_blocks(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return iter([("EXIF", data[:MOST_BYTES])])
    return iter(())


def _jpeg_blocks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the segments in front of the pixels."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        if data[place + 1] == 0xFF:  # padding
            place += 1
            continue
        marker, length = data[place + 1], struct.unpack_from(">H", data, place + 2)[0]
        body = data[place + 4 : place + 2 + length]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            yield "EXIF", body[6:]
        elif marker == 0xE1 and b"adobe.com/xap" in body[:40]:
            yield "XMP", body
        elif marker == 0xEB and body.startswith(b"JP"):
            yield "JUMBF", body[8:]
        elif marker == 0xFE:
            yield "comment", body
        place += 2 + max(length, 2)


def _png_blocks(data: bytes) -> Iterator[tuple[str, bytes]]:
    place = 8
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + min(length, MOST_BYTES)]
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            key, text = _png_text(kind, body)
            yield ("XMP", text) if key == "XML:com.adobe.xmp" else (f"text {key!r}", text)
        elif kind == b"caBX":
            yield "JUMBF", body
        elif kind == b"eXIf":
            yield "EXIF", body
        place += 12 + length


def _png_text(kind: bytes, body: bytes) -> tuple[str, bytes]:
    """Return keyword and text of a chunk."""
    key, _, rest = body.partition(b"\0")
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
    elif packed:
        rest = rest[1:]
    if packed:
        with suppress(zlib.error):
            rest = zlib.decompressobj().decompress(rest, MOST_BYTES)
    return key.decode("latin-1"), rest


def _riff_blocks(data: bytes) -> Iterator[tuple[str, bytes]]:
    place, names = 12, {b"EXIF": "EXIF", b"XMP ": "XMP", b"C2PA": "JUMBF"}
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind in names:
            yield names[kind], data[place + 8 : place + 8 + min(length, MOST_BYTES)].removeprefix(b"Exif\0\0")
        place += 8 + length + length % 2


def _media_blocks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the C2PA box of AVIF and HEIF, and the items that hold EXIF and XMP."""
    for kind, start, end in _boxes(data, 0, len(data)):
        body = data[start : min(end, start + MOST_BYTES)]
        if kind == b"uuid" and body.startswith(_C2PA_UUID):
            # Then version and flags (4 bytes), a purpose that a zero byte ends, and an offset (8) before a manifest.
            purpose, _, rest = body[20:].partition(b"\0")
            yield "JUMBF", rest[8:] if purpose == b"manifest" else rest
        elif kind == b"meta":
            yield from _items(data, start + 4, end)


def _boxes(data: bytes, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, begin and end of the content of each box; a length of 0 reaches to the end, 1 stands for 64 bits."""
    while place + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1 and place + 16 <= end:
            length, head = struct.unpack_from(">Q", data, place + 8)[0], 16
        length = length or end - place
        if length < head:
            return
        yield kind, place + head, min(place + length, end)
        place += length


def _items(data: bytes, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    """Yield EXIF and XMP among the items of a `meta` box, which names them in `iinf` and says where they lie in `iloc`.

    Source: ISO/IEC 14496-12, sections 8.11.3 and 8.11.6.
    """
    inside = {kind: (begin, until) for kind, begin, until in _boxes(data, start, end)}
    if b"iinf" not in inside or b"iloc" not in inside:
        return
    kinds = dict(_item_kinds(data, *inside[b"iinf"]))
    for number, where in _item_places(data, *inside[b"iloc"]):
        kind, body = kinds.get(number), b"".join(data[place : place + length] for place, length in where)[:MOST_BYTES]
        if kind == b"Exif" and len(body) > 4:  # begins with the place of the TIFF header behind these four bytes
            yield "EXIF", body[4 + struct.unpack_from(">I", body)[0] :]
        elif kind == b"mime":
            yield "XMP", body


def _item_kinds(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and kind of each item; of other content types than XMP's, none."""
    wide = data[start] > 0
    for _, place, until in _boxes(data, start + (8 if wide else 6), end):
        version = data[place]
        size = 4 if version > 2 else 2
        number = int.from_bytes(data[place + 4 : place + 4 + size])
        kind = data[place + 6 + size : place + 10 + size]
        if kind != b"mime" or b"application/rdf+xml" in data[place:until]:
            yield number, kind


def _item_places(data: bytes, start: int, end: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield number and (place, length) of the parts of each item that lies in the file itself."""
    version, place = data[start], start + 4

    def read(size: int) -> int:
        nonlocal place
        place += size
        if place > end:
            raise ValueError("a box ends early")
        return int.from_bytes(data[place - size : place])

    sizes = read(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(min(read(4 if version > 1 else 2), MOST_BLOCKS)):
        number, method = read(4 if version > 1 else 2), read(2) & 15 if version else 0
        read(2)  # which file; this one
        origin, parts = read(base), list[tuple[int, int]]()
        for _ in range(min(read(2), MOST_BLOCKS)):
            read(index if version else 0)
            parts.append((origin + read(offset), read(length)))
        if method == 0:
            yield number, parts


# What stands in a block


def _read(name: str, body: bytes) -> Found:
    if name == "JUMBF":
        yield from _manifest(body[:MOST_BYTES])
    elif name == "XMP":
        yield from _xmp(body[:MOST_BYTES])
    elif name == "EXIF":
        yield from _exif(body)
    else:
        yield from _text(name, body[:MOST_BYTES])


def _manifest(body: bytes) -> Found:
    if b"jumb" in body[:16] and b"c2pa" in body[:256]:
        yield "c2pa", "C2PA manifest", "a manifest of provenance (C2PA)"
    if match := _SOURCE_TYPE.search(body):
        yield "source type", "C2PA manifest", match[0].decode()


def _xmp(body: bytes) -> Found:
    if match := _SOURCE_TYPE.search(body):
        yield "source type", "XMP", match[0].decode()
    text = body.decode("utf-8", "replace")
    if words := _WORDS.search(text):
        yield "generator", "XMP", words[0]
    if tool := re.search(r"CreatorTool(?:=\"|>)([^\"<]{1,200})", text):
        yield "software", "XMP", tool[1]


def _text(name: str, body: bytes) -> Found:
    text, key = body.decode("utf-8", "replace"), name.removeprefix("text ").strip("'").lower()
    from_settings = _SETTINGS.search(text) or (key in _KEYS and (_GRAPH.search(text) or len(text) > 20))
    if from_settings or _WORDS.search(text) or _WORDS.search(key):
        yield "generator", name, text
    elif "screenshot" in text[:200].lower():
        yield "screenshot", name, text
    elif key == "software":
        yield "software", name, text


def _exif(body: bytes) -> Found:
    exif = PillowImage.Exif()
    exif.load(b"Exif\0\0" + body)
    tags = dict(exif) | _private(exif)
    texts = {tag: _plain(tags.get(tag)) for tag in _TEXT_TAGS}
    camera = " ".join(texts[tag] for tag in (ExifTags.Base.Make, ExifTags.Base.Model) if texts[tag])
    for tag, text in texts.items():
        if text and (_WORDS.search(text) or _SETTINGS.search(text)):
            yield "generator", f"EXIF {tag.name}", text
        elif "screenshot" in text[:200].lower():
            yield "screenshot", f"EXIF {tag.name}", text
        elif text and tag == ExifTags.Base.Software:
            yield "software", "EXIF Software", text
    if camera and not _WORDS.search(camera):
        yield "camera", "EXIF Make and Model", camera


_TEXT_TAGS = (
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.UserComment,
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Artist,
)


def _private(exif: PillowImage.Exif) -> dict[int, object]:
    with suppress(Exception):  # a damaged directory below the first
        return dict(exif.get_ifd(ExifTags.IFD.Exif))
    return {}


def _plain(value: object) -> str:
    """Read a text of EXIF; comments name their encoding in eight bytes."""
    if isinstance(value, bytes):
        kind, rest = value[:8], value[8:] if value[:8].rstrip(b"\0") in (b"ASCII", b"UNICODE", b"") else value
        if kind.startswith(b"UNICODE"):
            order = "utf-16-be" if rest[:1] == b"\0" else "utf-16-le"
            return rest.decode(order, "replace").strip("\0 ")
        return rest.decode("utf-8", "replace").strip("\0 ")
    return value.strip("\0 ") if isinstance(value, str) else ""
