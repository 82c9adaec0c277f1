"""XMP of a picture (ISO 16684-1) as far as it is true of its translation: what it shows, who made it and may use it."""

import xml.etree.ElementTree as ET
from pathlib import Path

from PIL import Image

from cyclestyle.provenance import (
    BEGIN_PACKET,
    DESCRIPTION,
    END_PACKET,
    IPTC,
    RDF,
    XMP,
    xmp_descriptions,
    xmp_packets,
)

MOST = 50_000  # bytes; the segment of a JPEG takes 65502 in all
PREFIXES = {
    "rdf": RDF,
    "xmp": XMP,
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpExt": IPTC,
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    "cc": "http://creativecommons.org/ns#",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
}
WHOLE = {"xmpRights", "Iptc4xmpCore", "plus", "cc"}  # vocabularies of which all is kept
SOME = {
    "dc": "contributor coverage creator date description publisher relation rights source subject title type",
    "lr": "hierarchicalSubject weightedFlatSubject",
    "photoshop": "AuthorsPosition CaptionWriter Category City Country Credit DateCreated Headline Instructions Source "
    "State SupplementalCategories TransmissionReference Urgency",
    "xmp": "CreateDate Label Nickname Rating",
}
KEPT = {f"{{{PREFIXES[prefix]}}}{name}" for prefix, names in SOME.items() for name in names.split()}
SOURCE_TYPE = f"{{{IPTC}}}DigitalSourceType"
GENERATED_TYPES = ("lgorithmicMedia", "compositeSynthetic")  # a capture is none any more
SPACES = tuple(f"{{{PREFIXES[prefix]}}}" for prefix in WHOLE)

for _prefix, _space in PREFIXES.items():
    ET.register_namespace(_prefix, _space)


def kept_xmp(image: Image.Image, path: Path) -> str:
    """An `rdf:Description` of what is kept of a picture that was opened; empty if there is nothing."""
    try:
        found = xmp_descriptions(_packet(image, path))
    except (ET.ParseError, ValueError, LookupError):
        return ""
    kept = ET.Element(DESCRIPTION, {f"{{{RDF}}}about": ""})
    said: set[str] = set()  # of what is said twice, the first is kept
    for about in found:
        for name, value in about.items():
            if _is_kept(name, value) and name not in said:
                kept.set(name, value)
                said.add(name)
        for entry in about:
            if _is_kept(entry.tag, entry.text or "") and entry.tag not in said:
                entry.tail = None
                kept.append(entry)
                said.add(entry.tag)
    if not said:
        return ""
    try:
        while len((text := ET.tostring(kept, encoding="unicode")).encode()) > MOST:
            kept.remove(max(kept, key=_length))  # or a long caption would cost the rights, too
    except (RecursionError, ValueError):  # a thousand levels; attributes alone are too long
        return ""
    return text


def without_source_type(kept: str) -> str:
    """What `kept_xmp` gave, for a file that has a source type of its own."""
    if not kept:
        return ""
    about = ET.fromstring(kept)
    about.attrib.pop(SOURCE_TYPE, None)
    for entry in about.findall(SOURCE_TYPE):
        about.remove(entry)
    return ET.tostring(about, encoding="unicode") if len(about) or len(about.attrib) > 1 else ""


def _packet(image: Image.Image, path: Path) -> bytes:
    """The XMP of a picture; empty if it has none."""
    if image.format == "GIF":  # of which Pillow does not tell
        return next(xmp_packets(path), b"")
    if image.format == "PNG" and "xmp" not in image.info:
        image.load()  # it may stand behind the pixels
    packet = image.info.get("xmp", b"")
    if isinstance(packet, str):  # of a TIFF that calls it text
        packet = packet.encode("latin-1", "replace")
    if not isinstance(packet, bytes) or b"<!DOCTYPE" in packet:  # which XMP has not, but bombs of entities
        return b""
    end = packet.find(END_PACKET)
    return packet[max(0, packet.find(BEGIN_PACKET)) : end + len(END_PACKET)] if end >= 0 else packet.strip(b"\0 \t\r\n")


def _length(entry: ET.Element) -> int:
    return sum(len(text) for text in entry.itertext())


def _is_kept(name: str, value: str) -> bool:
    if name == SOURCE_TYPE:
        return value.strip().endswith(GENERATED_TYPES)
    return name in KEPT or name.startswith(SPACES)
