"""What translations keep of the XMP of their sources."""

import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from cyclestyle.images import register_heic
from cyclestyle.provenance import GENERATED, read_provenance, xmp_packet
from cyclestyle.translate.pipeline import Settings, translate_files
from cyclestyle.translate.reading import About, Frame
from cyclestyle.translate.sources import Job
from cyclestyle.translate.writing import write_frames
from cyclestyle.translate.xmp import PREFIXES
from tests.picture_files import ORIGIN, read, smooth

SPACES = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in PREFIXES.items()) + (
    ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"'
    ' xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
)
ABOUT = (
    f'<rdf:Description rdf:about="" {SPACES} xmp:Rating="4" xmp:CreatorTool="Another" tiff:Orientation="6" '
    'photoshop:City="苏州" photoshop:ICCProfile="Adobe RGB" ext:DigitalSourceType="digitalCapture">'
    "<dc:rights><rdf:Alt><rdf:li xml:lang='x-default'>(c) Li &amp; Wang</rdf:li></rdf:Alt></dc:rights>"
    "<dc:format>image/jpeg</dc:format><crs:Exposure2012>1</crs:Exposure2012></rdf:Description>"
    f'<rdf:Description rdf:about="" {SPACES}><xmpRights:Marked>True</xmpRights:Marked></rdf:Description>'
)
TRAILER = bytes([1, *range(255, -1, -1), 0])
KEPT = ['Rating="4"', 'City="苏州"', "(c) Li &amp; Wang", 'xml:lang="x-default"', "<xmpRights:Marked>True"]
DROPPED = ["Another", "Orientation", "Adobe RGB", "digitalCapture", "image/jpeg", "Exposure"]


def written(path: Path, packet: bytes) -> Path:
    register_heic()
    image, options = Image.fromarray(smooth()), {"xmp": packet}
    if path.suffix == ".png":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", packet.decode())
        image.save(path, pnginfo=texts)
    elif path.suffix == ".tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags.tagtype[700], tags[700] = 1, packet
        image.save(path, tiffinfo=tags)
    elif path.suffix == ".gif":
        image.save(path)
        path.write_bytes(path.read_bytes()[:-1] + b"\x21\xff\x0bXMP DataXMP" + packet + TRAILER + b";")
    else:
        image.save(path, **options)
    return path


def packet_of(path: Path) -> str:
    data = path.read_bytes()
    return data[data.index(b"<x:xmpmeta") : data.index(b"</x:xmpmeta>")].decode()


class Same:
    """Stands for a translator: pictures as they are."""

    def batch(self, pictures: Any) -> list[np.ndarray]:
        return list(pictures)

    def size_seen(self, picture: np.ndarray) -> tuple[int, ...]:
        return picture.shape[:2]

    def tiling(self, picture: np.ndarray) -> None:
        return None


@pytest.mark.parametrize("as_element", [True, False])
@pytest.mark.parametrize("kept", [ABOUT, ""], ids=["beside others", "alone"])
def test_a_source_that_says_it_was_generated_stays_so_and_says_it_once(
    tmp_path: Path, as_element: bool, kept: str
) -> None:
    said = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    name = "Iptc4xmpExt:DigitalSourceType"
    inside = f"><{name}>{said}</{name}></rdf:Description>" if as_element else f' {name}="{said}"/>'
    packet = xmp_packet(f'<rdf:Description rdf:about="" {SPACES}{inside}{kept}')
    source = written(tmp_path / "a.png", packet)
    for origin, told in ((ORIGIN, GENERATED), (None, said)):
        target = tmp_path / f"{bool(origin)}.png"
        assert translate_files(Same(), [Job(source, target)], Settings(1, 10**6, 95, origin)) == 0  # type: ignore[arg-type]
        packet_text = packet_of(target)
        assert packet_text.count("DigitalSourceType") == (2 if as_element and not origin else 1)
        assert told in packet_text


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("suffix", [".avif", ".gif", ".heic", ".jpg", ".png", ".tif", ".webp"])
def test_captions_and_rights_are_kept_and_what_is_not_true_any_more_is_not(
    suffix: str, marked: bool, tmp_path: Path
) -> None:
    source, target = written(tmp_path / f"a{suffix}", xmp_packet(ABOUT)), tmp_path / f"b{suffix}"
    translator: Any = Same()
    assert translate_files(translator, [Job(source, target)], Settings(1, 10**6, 95, ORIGIN if marked else None)) == 0
    packet = packet_of(target)
    assert [text for text in KEPT if text not in packet] == []
    assert [text for text in DROPPED if text in packet] == []
    assert (GENERATED in packet, read_provenance(target)) == ((True, ORIGIN) if marked else (False, None))
    again = tmp_path / f"c{suffix}"
    assert translate_files(translator, [Job(target, again)], Settings(1, 10**6, 95, ORIGIN)) == 0
    assert [text for text in KEPT if text not in packet_of(again)] == []
    assert packet_of(again).count(GENERATED) == 1


@pytest.mark.parametrize(
    "packet",
    [
        b"<x:xmpmeta", b"\xff\xfe<", b'<?xml version="1.0" encoding="none"?><a/>', xmp_packet(""),
        b'<!DOCTYPE a [<!ENTITY b "bb">]>' + xmp_packet(ABOUT.replace("Li", "&b;")),
        xmp_packet(ABOUT.replace("Li", "<rdf:li>" * 10_000 + "</rdf:li>" * 10_000)),
    ],
    ids=["cut off", "no text", "encoding", "empty", "entities", "deep"],
)  # fmt: skip
def test_of_packets_that_are_damaged_or_say_nothing_nothing_is_kept(packet: bytes, tmp_path: Path) -> None:
    began = time.monotonic()
    assert read(written(tmp_path / "a.tif", packet))[0].about.xmp == ""
    assert time.monotonic() - began < 5


def test_of_an_earlier_translation_it_is_kept_alone_that_it_was_generated(tmp_path: Path) -> None:
    kept = read(written(tmp_path / "a.tif", ORIGIN.packet()))[0].about.xmp
    assert GENERATED in kept
    assert ORIGIN.model not in kept
    assert ORIGIN.program not in kept


def test_what_is_kept_fits_into_a_jpeg_and_what_is_too_long_is_left_out_alone(tmp_path: Path) -> None:
    for length in (49_000, 60_000):
        opened, frames = read(written(tmp_path / "a.tif", xmp_packet(ABOUT.replace("Li", "L" * length))))
        write_frames(tmp_path / "b.jpg", frames, opened.about, ORIGIN)
        assert (f"(c) {'L' * length}" in packet_of(tmp_path / "b.jpg")) == (length == 49_000)
        assert "<xmpRights:Marked>True" in packet_of(tmp_path / "b.jpg")
    opened, _ = read(written(tmp_path / "a.tif", xmp_packet(ABOUT.replace("Exposure", "E" * 2**21))))
    assert "(c) Li" in opened.about.xmp


def test_of_what_is_said_twice_the_first_is_kept(tmp_path: Path) -> None:
    again = f'<rdf:Description rdf:about="" {SPACES} photoshop:City="无锡"><xmp:Rating>1</xmp:Rating></rdf:Description>'
    opened, _ = read(written(tmp_path / "a.jpg", xmp_packet(ABOUT + "stray" + again)))
    assert "无锡" not in opened.about.xmp
    assert "Rating>1" not in opened.about.xmp
    assert "stray" not in opened.about.xmp


def test_a_tag_of_another_type_is_text_or_nothing(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for kind, value, kept in (
        (2, xmp_packet(ABOUT), True),
        (4, 4_000_000_000, False),
        (12, 0.5, False),
    ):
        tags.tagtype[700], tags[700] = kind, value
        Image.fromarray(smooth()).save(tmp_path / "a.tif", tiffinfo=tags)
        assert ("苏州" in read(tmp_path / "a.tif")[0].about.xmp) == kept


def test_xmp_behind_the_pixels_of_a_png_is_found(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    Image.fromarray(smooth()).save(tmp_path / "a.png", exif=exif)
    data = (tmp_path / "a.png").read_bytes()
    body = b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + xmp_packet(ABOUT)
    late = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(data[:-12] + late + data[-12:])
    assert "苏州" in read(tmp_path / "a.png")[0].about.xmp


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_later_pages_say_nothing_of_the_first(dtype: type, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "the first"
    opened, _ = read(written(tmp_path / "a.jpg", xmp_packet(ABOUT)))
    about = About(exif=exif.tobytes(), xmp=opened.about.xmp)
    write_frames(tmp_path / "b.tif", [Frame(smooth(dtype=dtype)) for _ in range(2)], about, ORIGIN)
    with Image.open(tmp_path / "b.tif") as image:
        for page in range(2):
            image.seek(page)
            tags: Any = getattr(image, "tag_v2", {})
            assert (
                ("苏州".encode() in tags[700])
                == (tags.get(ExifTags.Base.ImageDescription) == "the first")
                == (page == 0)
            )
            assert GENERATED.encode() in tags[700]
