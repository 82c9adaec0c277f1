"""What a translation says of itself: XMP with IPTC's DigitalSourceType, the model and the program.

`python -m cyclestyle.provenance FILE...` shows it. It is a plain note, not a signature: anybody can remove it or write
another.
"""

import mmap
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

from cyclestyle import __version__
from cyclestyle.commands import Parser, printable, run_command
from cyclestyle.errors import UserError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
XMP = "http://ns.adobe.com/xap/1.0/"
OURS = "urn:cyclestyle:1"
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
DESCRIPTION = f"{{{RDF}}}Description"
BEGIN_PACKET, END_PACKET = b"<x:xmpmeta", b"</x:xmpmeta>"
END = 2**16  # bytes
NOTHING = "says nothing"


class Provenance(NamedTuple):
    """What made a picture.

    Attributes:
        model: SHA-256 of the model's file.
        direction: AtoB or BtoA, or both of what was translated back.
        names: of the domains, "photo to ink".
        program: with its version.
    """

    model: str
    direction: str
    names: str
    program: str = f"cyclestyle {__version__}"

    def and_back(self) -> "Provenance":
        """Of a translation that was translated back."""
        back = {"AtoB": "AtoB, BtoA", "BtoA": "BtoA, AtoB"}[self.direction]
        return self._replace(direction=back, names=f"{self.names} to {self.names.partition(' to ')[0]}")

    def packet(self, kept: str = "") -> bytes:
        """An XMP packet that says so, beside what is kept of the source's."""
        return xmp_packet(
            f'<rdf:Description rdf:about="" xmlns:rdf="{RDF}" xmlns:Iptc4xmpExt="{IPTC}" xmlns:xmp="{XMP}" '
            f'xmlns:cyclestyle="{OURS}" '
            f'Iptc4xmpExt:DigitalSourceType="{GENERATED}" xmp:CreatorTool={quoteattr(self.program)} '
            f"cyclestyle:model={quoteattr(self.model)} cyclestyle:direction={quoteattr(self.direction)} "
            f"cyclestyle:names={quoteattr(self.names)}/>{kept}"
        )


def xmp_packet(descriptions: str) -> bytes:
    """An XMP packet (ISO 16684-1) of `rdf:Description` elements."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}">{descriptions}</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def read_provenance(path: Path) -> Provenance | None:
    """What `Provenance.packet` wrote into a picture or a video, or None.

    Raises:
        OSError: the file cannot be read.
    """
    for packet in xmp_packets(path):
        try:
            descriptions = xmp_descriptions(packet)
        except (ET.ParseError, ValueError):
            continue
        for about in descriptions:
            told = [about.get(f"{{{space}}}{name}") for space, name in (
                (OURS, "model"), (OURS, "direction"), (OURS, "names"), (XMP, "CreatorTool"),
            )]  # fmt: skip
            if about.get(f"{{{IPTC}}}DigitalSourceType") == GENERATED and all(told):
                return Provenance(*(str(text) for text in told))
    return None


def xmp_descriptions(packet: bytes) -> list[ET.Element]:
    """The `rdf:Description` elements at the top of an XMP packet, each of which has a part of what is said.

    Raises:
        ET.ParseError, ValueError, LookupError: it is damaged, or in an encoding that nobody knows.
    """
    return [about for rdf in ET.fromstring(packet).iter(f"{{{RDF}}}RDF") for about in rdf if about.tag == DESCRIPTION]


def xmp_packets(path: Path) -> Iterator[bytes]:
    """XMP packets of a file, which may be larger than the memory; first those at its end, where MP4 has them."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for at in (max(0, size - END), 0):
                    while (end := data.find(END_PACKET, at)) >= 0:
                        begin, after = data.rfind(BEGIN_PACKET, at, end), end + len(END_PACKET)
                        if begin >= 0:
                            yield data[begin:after]
                        at = after


def main(argv: list[str] | None = None) -> int:
    """Show what files say; returns 1 if one says nothing or cannot be read."""
    return run_command(_main, argv)


def _main(argv: list[str] | None) -> int:
    parser = Parser(
        "provenance",
        "python -m cyclestyle.provenance",
        description="Show what translations say of their origin.",
        epilog="Exit status: 0 if each of them says it, else 1.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="pictures or videos")
    silent = 0
    for path in parser.parse_args(argv).files:
        try:
            told = _told(path)
        except UserError as error:
            print(printable(f"error: {error}"), file=sys.stderr)
            told = ""
        if told:
            print(printable(f"{path}: {told}"))
        silent += told in ("", NOTHING)
    return 1 if silent else 0


def _told(path: Path) -> str:
    if not path.is_file():
        reason = "is a folder; name files" if path.is_dir() else "not a file" if path.exists() else "no such file"
        raise UserError(f"{path}: {reason}")
    try:
        told = read_provenance(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if told is None:
        return NOTHING
    return f"{told.names} ({told.direction}), translated by {told.program}, model {told.model}"


if __name__ == "__main__":
    sys.exit(main())
