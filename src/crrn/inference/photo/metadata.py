"""A photo's metadata as it is written: without anything that still shows the reflection or that no longer holds."""

from __future__ import annotations

import logging
import math
import re
from xml.dom import minidom

from PIL import ExifTags, Image

log = logging.getLogger("crrn")

TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""

_ORIENTATION = 274
_SIZE = (40962, 40963)
_MAKER_NOTE = 37500
_START_OF_JPEG = b"\xff\xd8\xff"

# Tags of a TIFF that describe how its pixels lie in the file, or how they once looked: not the written file's.
_LAYOUT = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 290, 291, 292, 293}
    | {301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342, 347}
    | {512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 33723, 34377, 34675}
)

MAX_XMP = 1 << 20
"""Bytes; larger packets are left out."""

# Of XMP: the size and orientation of before, and what speaks of pictures that are not written.
_XMP_NAMES = {
    "http://ns.adobe.com/xap/1.0/": {"Thumbnails"},
    "http://ns.adobe.com/tiff/1.0/": {"Orientation", "ImageWidth", "ImageLength"},
    "http://ns.adobe.com/exif/1.0/": {"PixelXDimension", "PixelYDimension"},
}
_XMP_NAMESPACES = (
    "http://ns.adobe.com/xap/1.0/g/img/",
    "http://ns.adobe.com/xmp/note/",
    "http://ns.adobe.com/hdr-gain-map/",
    "http://ns.apple.com/HDRGainMap/",
    "http://ns.google.com/photos/1.0/audio/",
    "http://ns.google.com/photos/1.0/camera/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/image/",
)
_EMBEDDED = re.compile(r"[A-Za-z0-9+/=_\s-]{4096,}")
"""Values that are data in base 64: pictures, for the most part."""


def read_exif(image: Image.Image) -> tuple[bytes | None, int]:
    """The EXIF block as it is to be written, and the orientation that the pixels have yet to be turned by.

    Left out: the thumbnail, a maker's note that holds a JPEG, and tags of a TIFF's layout.
    """
    try:
        exif = Image.Exif()
        exif.load(image.getexif().tobytes())  # a TIFF's own is what Pillow decodes by
        orientation = int(exif.get(_ORIENTATION, 1))
        for tag in [tag for tag in exif if tag in _LAYOUT]:
            del exif[tag]
        if _ORIENTATION in exif:
            exif[_ORIENTATION] = 1
        details = exif.get_ifd(ExifTags.IFD.Exif) if ExifTags.IFD.Exif in exif else {}
        if orientation in TURNED and all(tag in details for tag in _SIZE):
            width, height = (details[tag] for tag in _SIZE)
            details[_SIZE[0]], details[_SIZE[1]] = height, width
        note = details.get(_MAKER_NOTE)
        if isinstance(note, bytes) and _START_OF_JPEG in note:
            del details[_MAKER_NOTE]
        return (exif.tobytes() if len(exif) else None), orientation
    except Exception as error:  # as on broken files: a photo is more than its EXIF
        log.warning("%s: its EXIF cannot be read and is left out (%s)", getattr(image, "filename", "photo"), error)
        return None, 1


def read_dpi(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch along x and y, as the file's own format says (a TIFF says so in what `read_exif` gives)."""
    if image.format == "TIFF" or (image.format in ("JPEG", "MPO") and image.info.get("jfif_unit") not in (1, 2)):
        return None  # else Pillow's guess, or the shape of a pixel
    try:
        x, y = (float(number) for number in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(number) and 1 <= number <= 65535 for number in (x, y)) else None


def read_xmp(image: Image.Image) -> bytes | None:
    """The XMP packet as it is to be written."""
    packet = image.info.get("xmp")
    if not isinstance(packet, bytes) or not packet.strip(b"\0 \r\n\t"):
        return None
    try:
        return clean_xmp(packet)
    except Exception as error:  # of the XML parser, of many kinds
        log.warning("%s: its XMP cannot be read and is left out (%s)", getattr(image, "filename", "photo"), error)
        return None


def clean_xmp(packet: bytes) -> bytes:
    """An XMP packet without embedded data, such as thumbnails.

    Entries on the orientation and the size of the pixels, and on other pictures in the file, are left out too.

    Args:
        packet: RDF in XML, UTF-8.

    Raises:
        ValueError: the packet is too large, declares entities, or is no UTF-8.
        xml.parsers.expat.ExpatError: it is no XML.
    """
    text = re.sub(r"^\s*<\?xml\s[^>]*\?>", "", packet.decode("utf-8-sig").strip("\0 \r\n\t"))
    if len(packet) > MAX_XMP:
        raise ValueError(f"it has more than {MAX_XMP >> 20} MiB")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it declares entities, as XMP must not")
    document = minidom.parseString(text.encode())
    for element in document.getElementsByTagName("*"):
        for attribute in list(element.attributes.values()):
            if _unwanted(attribute) or _EMBEDDED.fullmatch(attribute.value):
                element.removeAttributeNode(attribute)
        data = "".join(child.data for child in element.childNodes if isinstance(child, minidom.Text))
        parent = element.parentNode
        if parent is not None and parent is not document and (_unwanted(element) or _EMBEDDED.fullmatch(data)):
            parent.removeChild(element)
    return "".join(node.toxml() for node in document.childNodes).encode()


def _unwanted(node: minidom.Element | minidom.Attr) -> bool:
    space = node.namespaceURI or ""
    return node.localName in _XMP_NAMES.get(space, ()) or space.startswith(_XMP_NAMESPACES)
