"""Boxes of AVIF and JPEG 2000, made by hand."""

import struct
from pathlib import Path

import pytest

from cyclestyle.boxes import boxes, jpeg_2000, properties_of_heif


def box(kind: bytes, content: bytes, large: bool = False) -> bytes:
    if large:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), kind) + content


def avif(primary: int, associated: dict[int, list[int]], wide: bool = False, version: int = 0) -> bytes:
    """Three properties, a, b and c, of which items have some."""
    number = ">I" if version else ">H"
    lists = b"".join(
        struct.pack(number, item)
        + bytes([len(numbers)])
        + struct.pack(f">{len(numbers)}{'H' if wide else 'B'}", *numbers)
        for item, numbers in associated.items()
    )
    ipma = box(b"ipma", bytes([version, 0, 0, int(wide)]) + struct.pack(">I", len(associated)) + lists)
    ipco = box(b"ipco", b"".join(box(name * 4, name) for name in (b"a", b"b", b"c")))
    pitm = box(b"pitm", bytes([version, 0, 0, 0]) + struct.pack(number, primary))
    return (
        box(b"ftyp", b"avif")
        + box(b"free", bytes(99), True)
        + box(b"meta", bytes(4) + pitm + box(b"iprp", ipco + ipma))
    )


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("wide", [False, True])
def test_the_properties_of_the_primary_picture_come_first(wide: bool, version: int, tmp_path: Path) -> None:
    essential = 0x8000 if wide else 0x80
    path = tmp_path / "a.avif"
    path.write_bytes(avif(7, {3: [1, 2], 7: [3, 2 | essential]}, wide, version))
    own, every = properties_of_heif(path)
    assert [content for _, content in own] == [b"c", b"b"]
    assert [content for _, content in every] == [b"a", b"b", b"c"]
    path.write_bytes(avif(9, {3: [1, 2]}, wide, version))
    assert properties_of_heif(path) == ([], every)


def test_damaged_boxes_end_what_is_read(tmp_path: Path) -> None:
    whole, path = avif(7, {7: [3]}), tmp_path / "a.avif"
    for end in range(1, len(whole)):
        path.write_bytes(whole[:end])
        assert properties_of_heif(path) == ([], [])
    data = box(b"aaaa", b"1") + struct.pack(">I4s", 4, b"bbbb") + box(b"cccc", b"2")
    assert [found.kind for found in boxes(data, 0, len(data))] == [b"aaaa"]
    last = box(b"aaaa", b"1") + struct.pack(">I4s", 0, b"bbbb") + b"to the end"
    assert [(b.kind, last[b.start : b.end]) for b in boxes(last, 0, len(last))][1] == (b"bbbb", b"to the end")


def test_a_damaged_codestream_counts_as_one_of_8_bits() -> None:
    for data in (b"", b"\xff\x4f\xff\x51", b"\xff\x4f\xff\x51" + bytes(38), box(b"jp2c", b"\xff\x4f")):
        assert jpeg_2000(data) == (8, False, False)
