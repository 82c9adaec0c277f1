"""What translations keep of the EXIF of their sources."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from cyclestyle.images import read_image, register_heic
from cyclestyle.provenance import Provenance, read_provenance
from cyclestyle.translate.reading import About, Frame
from cyclestyle.translate.writing import write_frames
from tests.picture_files import ORIGIN, read, smooth

CAMERA, GPS, INTEROP = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("deep", [False, True])
def test_orientation_is_applied_and_other_exif_kept(orientation: int, deep: bool, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = orientation, "Camera"
    Image.fromarray(smooth()).save(tmp_path / "shown.png", exif=exif)
    with Image.open(tmp_path / "shown.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    if deep:
        write_frames(tmp_path / "shown.png", [Frame(smooth(dtype=np.uint16))], About(exif=exif.tobytes()))
    source, [frame] = read(tmp_path / "shown.png")
    shown = frame.pixels // 257 + 1 if deep else frame.pixels
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).max() <= (1 if deep else 0)
    write_frames(tmp_path / "out.jpg", [frame], source.about)
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.getexif().get(ExifTags.Base.Make) == "Camera"
        assert ExifTags.Base.Orientation not in image.getexif()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_tiff_hands_on_what_it_says_of_its_content_and_not_of_its_layout(suffix: str, tmp_path: Path) -> None:
    tags = {ExifTags.Base.Artist: "Painter", ExifTags.Base.ImageDescription: "Lake"}
    Image.fromarray(smooth()).save(tmp_path / "a.tif", compression="jpeg", tiffinfo=tags)
    source, frames = read(tmp_path / "a.tif")
    assert source.about.dpi is None
    write_frames(tmp_path / f"b{suffix}", frames, source.about)
    with Image.open(tmp_path / f"b{suffix}") as image:
        exif = image.getexif()
        assert (exif[ExifTags.Base.Artist], exif[ExifTags.Base.ImageDescription]) == ("Painter", "Lake")
        assert 347 not in exif, "tables of the JPEG compression"
        assert suffix == ".tif" or ExifTags.Base.StripOffsets not in exif
        image.load()


@pytest.mark.parametrize("origin", [None, ORIGIN])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_keeps_when_how_and_where_it_was_taken(dtype: type, origin: Provenance | None, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    exif.get_ifd(ExifTags.IFD.Exif).update({36867: "2026:11:25 10:00:00", 33437: 2.5})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (48.0, 51.0, 29.5)})
    about = About(exif=exif.tobytes()[6:], milliseconds=[0, 0])
    write_frames(tmp_path / "a.tif", [Frame(smooth(dtype=dtype, seed=seed)) for seed in range(2)], about, origin)
    source, frames = read(tmp_path / "a.tif")
    for seed, frame in enumerate(frames):
        assert np.array_equal(frame.pixels, smooth(dtype=dtype, seed=seed))
    write_frames(tmp_path / "b.jpg", frames[:1], source.about)
    for name in ("a.tif", "b.jpg"):
        with Image.open(tmp_path / name) as image:
            found = image.getexif()
            assert found[ExifTags.Base.Make] == "Camera"
            assert dict(found.get_ifd(ExifTags.IFD.Exif)) == {36867: "2026:11:25 10:00:00", 33437: 2.5}
            assert dict(found.get_ifd(ExifTags.IFD.GPSInfo)) == {1: "N", 2: (48.0, 51.0, 29.5)}
    assert read_provenance(tmp_path / "a.tif") == origin


def test_exif_that_is_damaged_or_too_long_costs_no_picture(tmp_path: Path) -> None:
    text = b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, ExifTags.Base.Orientation, 2, 3, b"up", 0)
    Image.fromarray(smooth()).save(tmp_path / "text.png", exif=text)
    Image.fromarray(smooth()).save(tmp_path / "garbage.png", exif=b"Exif\0\0garbage")
    for name in ("text.png", "garbage.png"):
        source, [frame] = read(tmp_path / name)
        assert np.array_equal(frame.pixels, smooth())
        assert source.about.exif == b""
        assert np.array_equal(read_image(tmp_path / name), smooth())
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "long" * 20000
    write_frames(tmp_path / "long.jpg", [Frame(smooth())], About(exif=exif.tobytes()))
    assert read(tmp_path / "long.jpg")[0].about.exif == b""


class Text(str):
    """As any program but Pillow writes it."""

    def encode(self, *_: Any) -> bytes:
        return super().encode("utf-8")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_text_keeps_its_bytes(suffix: str, dtype: type, tmp_path: Path) -> None:
    artist, lens = Text("José 宋"), Text("Ø 50 mm")
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = artist
    exif.get_ifd(CAMERA)[ExifTags.Base.LensModel] = lens
    write_frames(tmp_path / "a.png", [Frame(smooth(dtype=dtype))], About(exif=exif.tobytes()))
    for name, target in (("a.png", "b.tif"), ("b.tif", f"c{suffix}")):
        source, frames = read(tmp_path / name)
        write_frames(tmp_path / target, frames, source.about)
    with Image.open(tmp_path / f"c{suffix}") as image:
        found = image.getexif()
        assert found[ExifTags.Base.Artist].encode("latin-1") == artist.encode()
        assert found.get_ifd(CAMERA)[ExifTags.Base.LensModel].encode("latin-1") == lens.encode()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("rating", [75, 100_000, -1])
def test_what_tells_the_layout_of_a_jpeg_does_not_lay_out_a_tiff(dtype: type, rating: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    layout = {256: 30, 257: 200, 258: (8, 8, 8), 259: 6, 262: 6, 277: 1, 284: 2, 317: 2, 338: 2, 339: 3, 530: (2, 1)}
    for tag, value in layout.items():
        exif[tag] = value
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Rating], exif[ExifTags.Base.RatingPercent] = "Camera", 4, rating
    exif[ExifTags.Base.XPTitle] = "Lake".encode("utf-16-le")
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif)
    source, _ = read(tmp_path / "a.jpg")
    write_frames(tmp_path / "b.tif", [Frame(smooth(dtype=dtype))], source.about)
    _, [frame] = read(tmp_path / "b.tif")
    assert np.array_equal(frame.pixels, smooth(dtype=dtype))
    with Image.open(tmp_path / "b.tif") as image:
        found = image.getexif()
        assert (found[ExifTags.Base.Make], found[ExifTags.Base.Rating]) == ("Camera", 4)
        assert found.get(ExifTags.Base.RatingPercent, rating) == rating
        assert ExifTags.Base.RatingPercent in found or rating < 0
        assert bytes(found[ExifTags.Base.XPTitle]) == "Lake".encode("utf-16-le")


@pytest.mark.parametrize("endian", ["<", ">"])
def test_bytes_keep_their_order_as_notes_of_the_maker_have_it_too(endian: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.endian = endian
    exif.get_ifd(CAMERA)[ExifTags.Base.MakerNote] = b"notes"
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif)
    kept = read(tmp_path / "a.jpg")[0].about.exif
    assert kept[6:8] == (b"II" if endian == "<" else b"MM")
    assert b"notes" in kept


def test_a_thumbnail_is_not_kept_as_it_shows_the_source(tmp_path: Path) -> None:
    entry = struct.pack("<HHHII", 1, ExifTags.Base.Make, 2, 4, int.from_bytes(b"Cam\0", "little"))
    thumbnail = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 100, 514, 4, 1, 9, 0)
    block = (b"II*\0" + struct.pack("<I", 8) + entry + struct.pack("<I", 26) + thumbnail).ljust(100) + b"THUMBNAIL"
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    kept = read(tmp_path / "a.jpg")[0].about.exif
    assert b"Cam" in kept
    assert b"THUMBNAIL" not in kept


def test_sizes_of_a_heic_that_was_turned_are_those_that_are_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[256], exif[257], exif[ExifTags.Base.Orientation] = 36, 24, 6
    register_heic()
    Image.fromarray(smooth()).save(tmp_path / "a.heic", exif=exif.tobytes())
    source, [frame] = read(tmp_path / "a.heic")
    kept = Image.Exif()
    kept.load(source.about.exif)
    assert frame.pixels.shape == (36, 24, 3)
    assert (kept[256], kept[257]) == (24, 36)


@pytest.mark.parametrize("orientation", [1, 6])
def test_size_and_colour_space_are_those_of_the_translation(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[256], exif[257], exif[ExifTags.Base.Orientation] = 36, 24, orientation
    exif.get_ifd(CAMERA).update({40961: 65535, 40962: 36, 40963: 24, INTEROP: {1: "R03", 2: b"0100"}})
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif)
    source, frames = read(tmp_path / "a.jpg")
    write_frames(tmp_path / "b.jpg", frames, source.about)
    write_frames(tmp_path / "b.tif", frames, source.about)
    width, height = (36, 24) if orientation == 1 else (24, 36)
    with Image.open(tmp_path / "b.jpg") as image:
        found = image.getexif()
        assert (found[256], found[257]) == image.size == (width, height)
        camera = found.get_ifd(CAMERA)
        assert (camera[40961], camera[40962], camera[40963]) == (1, width, height)
        assert found.get_ifd(INTEROP) == {1: "R98", 2: b"0100"}
    with Image.open(tmp_path / "b.tif") as image:
        assert dict(image.getexif().get_ifd(CAMERA)) == {40961: 1, 40962: width, 40963: height}
