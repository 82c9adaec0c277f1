"""XMP of a picture (ISO 16684-1) as far as it is true of its translation: what it shows, who made it and may use it."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from PIL import Image

from cyclestyle.provenance import RDF, XMP

MOST_READ, MOST_KEPT = 2**20, 50_000  # bytes; the segment of a JPEG takes 65502 in all
PREFIXES = {
    "rdf": RDF,
    "xmp": XMP,
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
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
SPACES = tuple(f"{{{PREFIXES[prefix]}}}" for prefix in WHOLE)

for _prefix, _space in PREFIXES.items():
    ET.register_namespace(_prefix, _space)


def kept_xmp(image: Image.Image) -> str:
    """An `rdf:Description` of what is kept; empty if there is nothing, or if the packet is damaged or too long."""
    packet = image.info.get("xmp", b"")
    packet = packet.encode() if isinstance(packet, str) else bytes(packet)
    kept = ET.Element(f"{{{RDF}}}Description", {f"{{{RDF}}}about": ""})
    try:
        for about in _descriptions(packet):
            kept.attrib.update({name: value for name, value in about.items() if _is_kept(name)})
            kept.extend(entry for entry in about if _is_kept(entry.tag))
        text = ET.tostring(kept, encoding="unicode")
    except (ET.ParseError, ValueError, LookupError, RecursionError):  # of unknown encodings, and a thousand levels
        return ""
    if len(kept) == 0 and len(kept.attrib) == 1:
        return ""
    return text if len(text.encode()) <= MOST_KEPT else ""


def _descriptions(packet: bytes) -> Iterator[ET.Element]:
    """The descriptions at the top of a packet, each of which has a part of what is said."""
    packet = packet.strip(b"\0 \t\r\n")
    if not packet or len(packet) > MOST_READ or b"<!DOCTYPE" in packet:  # which XMP has not, but bombs of entities
        return
    for rdf in ET.fromstring(packet).iter(f"{{{RDF}}}RDF"):
        yield from rdf.findall(f"{{{RDF}}}Description")


def _is_kept(name: str) -> bool:
    return name in KEPT or name.startswith(SPACES)
