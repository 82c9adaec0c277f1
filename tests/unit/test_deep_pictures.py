"""Colours and pictures of 16 bit a channel: read, taken to sRGB, and written as such."""

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from cyclestyle.deep import opencv
from cyclestyle.images import ImageError, read_image
from cyclestyle.provenance import read_provenance
from cyclestyle.translate.reading import About, Frame
from cyclestyle.translate.writing import not_held, srgb_profile, write_frames
from tests.picture_files import CURVES, ORIGIN, profile, read, smooth


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("transparent", [False, True])
def test_16_bit_come_out_as_16_bit(suffix: str, transparent: bool, tmp_path: Path) -> None:
    alpha = smooth(dtype=np.uint16, seed=1)[..., 0] if transparent else None
    path = tmp_path / f"deep{suffix}"
    write_frames(path, [Frame(smooth(dtype=np.uint16), alpha)], About(dpi=(300, 300)), ORIGIN)
    source, [frame] = read(path)
    assert frame.pixels.dtype == np.uint16
    assert np.array_equal(frame.pixels, smooth(dtype=np.uint16))
    assert (frame.alpha is None) == (alpha is None)
    assert alpha is None or np.array_equal(frame.alpha, alpha)
    assert source.about.dpi == pytest.approx((300, 300), abs=0.01)
    assert read_provenance(path) == ORIGIN


def test_16_bit_keep_their_pages_and_what_they_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Painter"
    pages = [Frame(smooth(20 + seed, 30, np.uint16, seed)) for seed in range(3)]
    write_frames(tmp_path / "a.tif", iter(pages), About(exif=exif.tobytes()), ORIGIN)
    source, frames = read(tmp_path / "a.tif")
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(frames, pages, strict=True))
    write_frames(tmp_path / "b.jpg", frames, source.about)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.getexif()[ExifTags.Base.Artist] == "Painter"


def test_16_bit_become_8_where_the_format_has_no_more(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.jpg", [Frame(smooth(dtype=np.uint16))], About())
    _, [frame] = read(tmp_path / "a.jpg")
    assert frame.pixels.dtype == np.uint8
    assert np.abs(frame.pixels.astype(int) - smooth()).mean() < 4


def test_16_bit_grey_is_read_as_such(tmp_path: Path) -> None:
    grey = smooth(dtype=np.uint16)[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    _, [frame] = read(tmp_path / "a.png")
    assert np.array_equal(frame.pixels, np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_tiff_is_turned_once(orientation: int, tmp_path: Path) -> None:
    tag = (int(ExifTags.Base.Orientation), "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "a.tif", smooth(dtype=np.uint16), photometric="rgb", extratags=[tag], metadata=None)
    tifffile.imwrite(tmp_path / "b.tif", smooth(), photometric="rgb", extratags=[tag], metadata=None)
    _, [deep] = read(tmp_path / "a.tif")
    _, [shallow] = read(tmp_path / "b.tif")
    assert deep.pixels.shape == shallow.pixels.shape == ((24, 36, 3) if orientation < 5 else (36, 24, 3))
    assert np.abs((deep.pixels // 257 + 1).astype(int) - shallow.pixels).max() <= 1


def test_deep_tiffs_of_other_layouts_are_read_as_they_are_meant_or_refused(tmp_path: Path) -> None:
    grey = smooth(dtype=np.uint16)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", 65535 - grey, photometric="miniswhite", metadata=None)
    assert np.array_equal(read(tmp_path / "a.tif")[1][0].pixels[..., 0], grey)
    assert np.abs(read_image(tmp_path / "a.tif")[..., 0] - grey / 257).max() <= 1
    planes = np.moveaxis(smooth(dtype=np.uint16), 2, 0)
    with tifffile.TiffWriter(tmp_path / "b.tif") as pages:
        pages.write(smooth(), photometric="rgb", metadata=None)
        pages.write(planes, photometric="rgb", planarconfig="separate", metadata=None)
    for frame, page in zip(read(tmp_path / "b.tif")[1], (smooth().astype(np.uint16) * 257, planes), strict=True):
        assert np.array_equal(frame.pixels, page if page.shape[2] == 3 else np.moveaxis(page, 0, 2))


@pytest.fixture
def swapped_profile() -> bytes:
    """In which red is what blue is in sRGB, though it calls itself sRGB."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


def test_colours_are_taken_to_srgb(swapped_profile: bytes, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 100, 20)).save(tmp_path / "a.png", icc_profile=swapped_profile)
    Image.new("RGB", (8, 8), (200, 100, 20)).save(tmp_path / "damaged.png", icc_profile=b"nonsense")
    assert np.abs(read(tmp_path / "a.png")[1][0].pixels[0, 0].astype(int) - (20, 100, 200)).max() <= 1
    assert read(tmp_path / "damaged.png")[1][0].pixels[0, 0].tolist() == [200, 100, 20]


def test_colours_in_srgb_stay_as_they_are_to_the_last_bit(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.png", icc_profile=srgb_profile())
    assert np.array_equal(read(tmp_path / "a.png")[1][0].pixels, smooth())


def test_16_bit_colours_are_taken_to_srgb_too(swapped_profile: bytes, tmp_path: Path) -> None:
    deep = smooth(dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", iccprofile=swapped_profile, metadata=None)
    _, [frame] = read(tmp_path / "a.tif")
    assert np.abs(frame.pixels.astype(int) - deep[..., ::-1]).max() < 300
    assert len(np.unique(frame.pixels)) > 256


def test_16_bit_grey_keeps_its_profile_and_its_transparency(tmp_path: Path) -> None:
    grey = smooth(dtype=np.uint16)[..., 0]
    tifffile.imwrite(tmp_path / "linear.tif", grey, iccprofile=profile(CURVES["linear"], b"GRAY"), metadata=None)
    assert read(tmp_path / "linear.tif")[1][0].pixels.mean() > 1.2 * grey.mean()
    Image.fromarray(grey).save(tmp_path / "hidden.png", transparency=int(grey[3, 4]))
    [frame] = read(tmp_path / "hidden.png")[1]
    assert frame.alpha is not None
    assert np.array_equal(frame.alpha == 0, grey == grey[3, 4])


def test_grey_profiles_are_followed_beside_transparency(tmp_path: Path) -> None:
    linear = profile(CURVES["linear"], b"GRAY")
    grey, alpha = Image.new("L", (8, 8), 64), Image.new("L", (8, 8), 128)
    grey.save(tmp_path / "a.png", icc_profile=linear)
    grey.save(tmp_path / "hidden.png", icc_profile=linear, transparency=9)
    Image.merge("LA", (grey, alpha)).save(tmp_path / "alpha.png", icc_profile=linear)
    rows = (b"\0" + struct.pack(">HH", 64 * 257, 30000) * 8) * 8
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 8, 8, 16, 4, 0, 0, 0), b"iCCP": b"x\0\0" + zlib.compress(linear)}
    chunks |= {b"IDAT": zlib.compress(rows), b"IEND": b""}
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks.items()]
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    [deep] = read(tmp_path / "deep.png")[1]
    assert deep.alpha is not None
    assert (deep.pixels.dtype, deep.pixels[0, 0, 0] // 257, deep.alpha[0, 0]) == (np.uint16, 137, 30000)
    colours = smooth(dtype=np.uint16)
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb", iccprofile=linear, metadata=None)
    assert np.array_equal(read(tmp_path / "rgb.tif")[1][0].pixels, colours), "a profile of another kind of colours"
    shown = {name: read(tmp_path / name)[1][0].pixels[0, 0].tolist() for name in ("a.png", "hidden.png", "alpha.png")}
    assert all(colour == [137, 137, 137] for colour in shown.values())


@pytest.mark.parametrize("order", [1, -1])
def test_pages_of_8_and_of_16_bit_all_come_out_with_16(order: int, tmp_path: Path) -> None:
    wanted = [smooth().astype(np.uint16) * 257, smooth(dtype=np.uint16, seed=1)][::order]
    with tifffile.TiffWriter(tmp_path / "a.tif") as pages:
        for page in [smooth(), smooth(dtype=np.uint16, seed=1)][::order]:
            pages.write(page, photometric="rgb", metadata=None)
    source, frames = read(tmp_path / "a.tif")
    write_frames(tmp_path / "b.tif", frames, source.about)
    for found in (frames, read(tmp_path / "b.tif")[1]):
        assert all(np.array_equal(frame.pixels, page) for frame, page in zip(found, wanted, strict=True))


def test_a_file_of_many_deep_pages_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as pages:
        for seed in range(9):
            pages.write(smooth(dtype=np.uint16, seed=seed), photometric="rgb", metadata=None)
    reads, from_file = [], np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda *args: reads.append(args) or from_file(*args))
    assert len(read(tmp_path / "a.tif")[1]) == 9
    assert len(reads) == 1


def test_cmyk_of_16_bit_is_converted_and_grey_of_32_is_scaled(tmp_path: Path) -> None:
    ink = np.zeros((8, 8, 4), np.uint16)
    ink[..., 1:3] = 65535
    tifffile.imwrite(tmp_path / "a.tif", ink, photometric="separated", metadata=None)
    assert read(tmp_path / "a.tif")[1][0].pixels[0, 0].tolist() == [255, 0, 0]
    for dtype, white in ((np.uint32, 2**32 - 1), (np.int32, 2**31 - 1), (np.uint32, 65535), (np.uint32, 2**20 - 1)):
        tifffile.imwrite(tmp_path / "b.tif", np.array([[0, white // 2, white]], dtype), metadata=None)
        source, [frame] = read(tmp_path / "b.tif")
        assert source.about.bits == 32
        assert source.cut == (32, 16)
        assert frame.pixels[0, :, 0].tolist() == pytest.approx([0, 32767.5, 65535], abs=1)


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha", "unspecified"])
def test_a_fourth_channel_of_16_bit_is_what_the_file_says(kind: str, tmp_path: Path) -> None:
    colours, alpha = smooth(dtype=np.uint16), np.full((24, 36), 32768, np.uint16)
    shown = (colours * 0.5).astype(np.uint16) if kind == "assocalpha" else colours
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([shown, alpha]), photometric="rgb", extrasamples=[kind])
    [frame] = read(tmp_path / "a.tif")[1]
    assert np.abs(frame.pixels.astype(int) - colours).max() <= 2
    assert (frame.alpha is None) == (kind == "unspecified")


@pytest.mark.parametrize(("name", "bits", "held"), [("a.heic", 12, True), ("a.heic", 16, False), ("a.png", 16, True)])
def test_bits_that_a_format_does_not_hold_are_named(name: str, bits: int, held: bool) -> None:
    assert not_held(Path(name), Frame(smooth(dtype=np.uint16)), About(bits=bits)) == (
        [] if held else [f"{bits} bits a channel"]
    )
    assert not_held(Path(name), Frame(smooth()), About(bits=bits)) == []


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_cut_of_one_page_is_told(order: int, tmp_path: Path) -> None:
    ink = np.zeros((24, 36, 4), np.uint16)
    kinds = [(ink, "separated"), (smooth(dtype=np.uint16), "rgb")][::order]
    with tifffile.TiffWriter(tmp_path / "a.tif") as pages:
        for pixels, kind in kinds:
            pages.write(pixels, photometric=kind, metadata=None)
    source, frames = read(tmp_path / "a.tif")
    assert [frame.pixels.dtype for frame in frames] == [np.uint16] * 2
    assert source.cut == (16, 8)
    with tifffile.TiffWriter(tmp_path / "b.tif") as pages:
        for page in [smooth(), smooth(dtype=np.uint16)][::order]:
            pages.write(page, photometric="rgb", metadata=None)
    source, _ = read(tmp_path / "b.tif")
    assert (source.about.bits, source.cut) == (16, None)


def test_bits_are_told_of_rare_formats_too(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.sgi", bpc=2)
    Image.fromarray(smooth().astype(np.float32)[..., 0]).save(tmp_path / "b.tif")
    Image.fromarray(smooth().astype(np.float32)[..., 0]).save(tmp_path / "c.pfm")
    cuts = {"a.sgi": (16, 8), "b.tif": (32, 16), "c.pfm": (32, 16)}
    assert {name: read(tmp_path / name)[0].cut for name in cuts} == cuts


def test_grey_that_pillow_reads_gets_the_light_of_its_profile_too(tmp_path: Path) -> None:
    given = profile(CURVES["linear"], b"GRAY")
    grey = np.full((8, 8), 2**31, np.uint32)
    tifffile.imwrite(tmp_path / "a.tif", grey, iccprofile=given, metadata=None)
    tifffile.imwrite(tmp_path / "b.tif", (grey >> 16).astype(np.uint16), iccprofile=given, metadata=None)
    shown = [read(tmp_path / name)[1][0].pixels[0, 0, 0] for name in ("a.tif", "b.tif")]
    assert shown[0] == pytest.approx(shown[1], abs=2)
    assert shown[0] > 45_000, "half the light"


def test_pictures_that_encoders_refuse_are_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match=r"a.avif: cannot be written: AVIF has at most 32768 pixels a side; choose"):
        write_frames(tmp_path / "a.avif", [Frame(np.zeros((1, 32769, 3), np.uint8))], About())

    def refuse(*args: Any) -> None:
        raise cv2.error("so large")

    monkeypatch.setattr(cv2, "imencode", refuse)
    with pytest.raises(ImageError, match=r"a.png: cannot be written: the encoder refuses it; choose"):
        write_frames(tmp_path / "a.png", [Frame(smooth(dtype=np.uint16))], About())
    assert list(tmp_path.iterdir()) == []


def test_opencv_is_quiet_whichever_version(monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []
    monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    opencv()
    assert levels == [0]
    monkeypatch.delattr(cv2, "setLogLevel")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    assert opencv().utils.logging.getLogLevel() == 0
