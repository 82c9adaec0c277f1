"""TIFFs that Pillow does not open or gets wrong."""

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from cyclestyle import rare_tiff
from cyclestyle.images import ImageError, open_image, read_image
from cyclestyle.rare_tiff import _Written
from cyclestyle.translate.exif import with_directories
from cyclestyle.translate.reading import Frame, Source
from tests.picture_files import CURVES, profile, read, smooth

COLOURS, ALPHA = smooth(48, 64, np.uint16), smooth(48, 64, np.uint16, 1)[..., 0]
GREY = COLOURS[..., 0]


LAYOUTS: dict[str, dict[str, Any]] = {
    "in strips": {"rowsperstrip": 10},
    "deflated": {"compression": "zlib", "rowsperstrip": 10},
    "as differences": {"compression": "zlib", "predictor": 2},
    "in tiles": {"tile": (32, 32)},
    "as differences in tiles": {"tile": (32, 48), "compression": "zlib", "predictor": 2},
    "of more than 4 GB": {"bigtiff": True},
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("kind", ["grey and alpha", "RGB", "RGBA"])
def test_16_bit_are_read_to_the_last_of_them(kind: str, planes: bool, layout: str, order: str, tmp_path: Path) -> None:
    colours = [GREY] if kind == "grey and alpha" else [*np.moveaxis(COLOURS, 2, 0)]
    transparent = kind != "RGB"
    samples = np.stack([*colours, *[ALPHA] * transparent], 0 if planes else 2)
    tifffile.imwrite(
        tmp_path / "a.tif", samples, byteorder=order, photometric="rgb" if len(colours) > 1 else "minisblack",
        planarconfig="separate" if planes else "contig", extrasamples=["unassalpha"] * transparent, metadata=None,
        **LAYOUTS[layout],
    )  # fmt: skip
    source, [frame] = read(tmp_path / "a.tif")
    assert (source.deep, source.about.bits, source.cut, source.about.lossless) == (True, 16, None, True)
    assert np.array_equal(frame.pixels, COLOURS if len(colours) > 1 else np.repeat(GREY[..., None], 3, 2))
    assert (frame.alpha is None) != transparent
    assert frame.alpha is None or np.array_equal(frame.alpha, ALPHA)
    if not transparent:
        assert np.abs(read_image(tmp_path / "a.tif") - frame.pixels / 257).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "white"), [(np.float16, 1), (np.float32, 1), (np.float32, 255), (np.float64, 1), (np.uint32, 2**32 - 1)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_more_than_16_bits_become_16(channels: int, dtype: type, white: float, tmp_path: Path) -> None:
    values = (COLOURS[..., :channels].squeeze() / 65535 * white).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb" if channels == 3 else "minisblack", metadata=None)
    source, [frame] = read(tmp_path / "a.tif")
    bits = np.dtype(dtype).itemsize * 8
    assert source.about.bits == bits
    assert source.cut == ((bits, 16) if bits > 16 else None)
    expected = COLOURS if channels == 3 else np.repeat(GREY[..., None], 3, 2)
    assert np.abs(frame.pixels.astype(int) - expected).max() <= (32 if dtype == np.float16 else 1)


def test_what_is_brighter_than_white_or_no_number_is_cut(tmp_path: Path) -> None:
    values = COLOURS.astype(np.float32) / 65535
    values[0, 0], values[0, 1], values[0, 2] = 40, np.nan, -3
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", metadata=None)
    [frame] = read(tmp_path / "a.tif")[1]
    assert [frame.pixels[0, column].tolist() for column in range(3)] == [[65535] * 3, [0] * 3, [0] * 3]
    assert np.abs(frame.pixels[1:].astype(int) - COLOURS[1:]).max() <= 1


def test_floats_that_opencv_wrote_with_a_predictor_of_their_own(tmp_path: Path) -> None:
    values = COLOURS.astype(np.float32) / 65535
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 8, cv2.IMWRITE_TIFF_PREDICTOR, 3]
    cv2.imwrite(str(tmp_path / "a.tif"), values[..., ::-1], options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages.first.predictor == 3
    assert np.abs(read(tmp_path / "a.tif")[1][0].pixels.astype(int) - COLOURS).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_samples_that_share_bytes(bits: int, tmp_path: Path) -> None:
    values = COLOURS >> 16 - bits
    rows = ["".join(f"{value:0{bits}b}" for value in row.ravel()) for row in values]
    data = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)
    made = _Written("<")
    places = {273: [made.append(data)], 278: [48], 279: [len(data)]}
    page = {256: [64], 257: [48], 258: [bits] * 3, 259: [1], 262: [2], 277: [3], 284: [1]}
    (tmp_path / "a.tif").write_bytes(made.page(page | places))
    source, [frame] = read(tmp_path / "a.tif")
    assert source.about.bits == bits
    assert np.array_equal(frame.pixels, np.rint(values * (65535 / (2**bits - 1))))


def test_all_else_is_kept(tmp_path: Path) -> None:
    start, exif = io.BytesIO(), Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 400
    tags = [(int(ExifTags.Base.Orientation), "H", 1, 6, True), (int(ExifTags.Base.Artist), "s", 7, "Painter", True)]
    with tifffile.TiffWriter(start) as pages:
        for page in (GREY, GREY[::-1]):
            pages.write(
                np.dstack([page, ALPHA]), photometric="minisblack", extrasamples=["assocalpha"], extratags=tags,
                resolution=(300, 300), resolutionunit="inch", iccprofile=profile(CURVES["linear"], b"GRAY"),
                metadata=None,
            )  # fmt: skip
    (tmp_path / "a.tif").write_bytes(with_directories(start.getvalue(), exif.tobytes()))
    source, frames = read(tmp_path / "a.tif")
    assert source.count == 2
    assert source.about.dpi == (300, 300)
    read_exif = Image.Exif()
    read_exif.load(source.about.exif)
    assert read_exif[ExifTags.Base.Artist] == "Painter"
    assert read_exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400
    for frame, page in zip(frames, (GREY, GREY[::-1]), strict=True):
        assert frame.alpha is not None
        assert np.array_equal(frame.alpha, np.rot90(ALPHA, -1))
        seen = np.rot90(page / np.maximum(ALPHA, 1), -1).clip(0, 1)
        wanted = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055) * 65535
        assert np.abs(frame.pixels[..., 0] - wanted).mean() < 64


def test_white_may_be_zero_and_other_samples_lie_beside(tmp_path: Path) -> None:
    more = np.dstack([COLOURS, GREY, ALPHA])
    tifffile.imwrite(tmp_path / "a.tif", more, photometric="rgb", extrasamples=["unspecified", "unassalpha"])
    [frame] = read(tmp_path / "a.tif")[1]
    assert np.array_equal(frame.pixels, COLOURS)
    assert np.array_equal(frame.alpha, ALPHA)  # type: ignore[arg-type]
    tifffile.imwrite(tmp_path / "b.tif", np.dstack([~GREY, ALPHA]), photometric="miniswhite", extrasamples=[0])
    [frame] = read(tmp_path / "b.tif")[1]
    assert np.array_equal(frame.pixels[..., 2], GREY)
    assert frame.alpha is None


def test_what_is_larger_or_of_other_colours_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([GREY, ALPHA]), photometric="minisblack", extrasamples=[2])
    with pytest.raises(ImageError, match=r"a.tif: refused: more than 0 megapixels"):
        Source(tmp_path / "a.tif", most=48 * 64 - 1)
    tifffile.imwrite(tmp_path / "b.tif", COLOURS, photometric="cielab", metadata=None)
    tifffile.imwrite(tmp_path / "c.tif", COLOURS.astype(np.int16), photometric="rgb", metadata=None)
    many = {"planarconfig": "contig", "extrasamples": [0] * 17}
    tifffile.imwrite(tmp_path / "d.tif", np.zeros((8, 8, 20), np.uint16), photometric="rgb", metadata=None, **many)
    (tmp_path / "e.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:3000])
    for name in "bcde":
        with pytest.raises(ImageError, match=rf"{name}.tif: a TIFF of a rare kind, or a damaged one; save it as RGB"):
            Source(tmp_path / f"{name}.tif")


def test_damage_is_told(tmp_path: Path) -> None:
    path, failed = tmp_path / "a.tif", 0
    tifffile.imwrite(path, np.dstack([GREY, ALPHA]), photometric="minisblack", extrasamples=[2], compression="zlib")
    data, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        for place in (*random.integers(0, len(data), 8), *random.integers(0, 300, 3)):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            read(path)
        except ImageError:
            failed += 1
    assert 50 < failed < 200


def floats(path: Path, values: np.ndarray, **options: Any) -> Frame:
    tifffile.imwrite(path, values.astype(np.float32), metadata=None, **{"photometric": "rgb"} | options)
    return read(path)[1][0]


def test_white_of_floats_is_that_of_what_wrote_them_and_alpha_has_its_own(tmp_path: Path) -> None:
    ramp = np.linspace(0.5, 3, 64)[None, :, None].repeat(48, 0).repeat(3, 2)
    bright = floats(tmp_path / "a.tif", np.dstack([ramp, ALPHA / 65535]), extrasamples=[2])
    assert np.abs(bright.pixels - (ramp.clip(0, 1) * 65535)).max() <= 1, "what is brighter than white is cut"
    assert np.abs(bright.alpha.astype(int) - ALPHA).max() <= 1  # type: ignore[union-attr]
    for full in (255, 65535):
        dark = np.zeros((48, 64, 3))
        dark[10:20, 10:20] = [0.25 * full, 0.5 * full, 0.75 * full]
        frame = floats(tmp_path / "b.tif", np.dstack([dark, np.ones((48, 64))]), extrasamples=[2])
        assert np.abs(frame.pixels - dark / full * 65535).max() <= 1
        assert (frame.alpha == 65535).all()
        grey = floats(tmp_path / "c.tif", dark[..., 1], photometric="minisblack")
        assert np.abs(grey.pixels[..., 0] - dark[..., 1] / full * 65535).max() <= 1


@pytest.mark.filterwarnings("error")
def test_floats_without_a_number_are_black(tmp_path: Path) -> None:
    assert (floats(tmp_path / "a.tif", np.full((48, 64, 3), np.nan)).pixels == 0).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint32])
def test_grey_of_32_bits_is_read_in_any_order_and_compression(dtype: type, order: str, tmp_path: Path) -> None:
    white = 2**32 - 1 if dtype == np.uint32 else 1
    values = (GREY / 65535 * white).astype(dtype)
    for options in ({}, {"compression": "zlib"}, {"compression": "zlib", "tile": (32, 32)}):
        tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order, photometric="minisblack", **options)
        assert np.abs(read(tmp_path / "a.tif")[1][0].pixels[..., 0].astype(int) - GREY).max() <= 1
        assert np.abs(read_image(tmp_path / "a.tif")[..., 0] - GREY / 257).max() <= 1


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_three_bands_are_colours_whatever_they_are_called(planar: str, tmp_path: Path) -> None:
    bands = np.dstack([COLOURS, ALPHA]) if planar == "contig" else np.moveaxis(COLOURS, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig=planar, metadata=None)
    [frame] = read(tmp_path / "a.tif")[1]
    assert np.array_equal(frame.pixels, COLOURS)
    assert frame.alpha is None


def test_one_sample_is_in_no_planes(tmp_path: Path) -> None:
    made, content = _Written("<"), GREY.astype("<u2").tobytes()
    places = {273: [made.append(content)], 278: [48], 279: [len(content)]}
    page = {256: [64], 257: [48], 258: [16], 259: [1], 262: [1], 277: [1], 284: [2]}
    (tmp_path / "a.tif").write_bytes(made.page(page | places))
    assert np.array_equal(read(tmp_path / "a.tif")[1][0].pixels[..., 0], GREY)


def test_pages_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as pages:
        for number in range(1100):
            page = np.full((4, 4, 2), number * 50, np.uint16)
            pages.write(page, photometric="minisblack", extrasamples=["unassalpha"], metadata=None)
    with monkeypatch.context() as patch:
        decoded: list[Any] = []
        decode = cv2.imdecode
        patch.setattr(cv2, "imdecode", lambda *args: decoded.append(1) or decode(*args))
        with Source(tmp_path / "a.tif") as source:
            assert len(decoded) <= 1, "the first page alone"
    frames = read(tmp_path / "a.tif")[1]
    assert source.count == len(frames) == 1100
    assert [frame.pixels[0, 0, 0] for frame in frames] == [number * 50 for number in range(1100)]


def test_a_page_that_is_unknown_behind_others_is_refused_in_the_same_words(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as pages:
        pages.write(smooth(), photometric="rgb", metadata=None)
        pages.write(np.dstack([GREY, ALPHA]), photometric="minisblack", extrasamples=[2], metadata=None)
    with pytest.raises(ImageError, match=r"a.tif: a TIFF of a rare kind, or a damaged one; save it as RGB"):
        Source(tmp_path / "a.tif")


@pytest.mark.parametrize("first", [False, True])
def test_pages_of_other_kinds_may_lie_before_and_behind(first: bool, tmp_path: Path) -> None:
    rare = (GREY.astype(np.float32) / 65535, {"byteorder": ">", "compression": "zlib"})
    palette = Image.fromarray(smooth(48, 64)).quantize(16)
    colours = np.asarray(palette.getpalette(), np.uint16).reshape(-1, 3)
    table = np.pad(colours * 257, ((0, 256 - len(colours)), (0, 0))).T
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=">") as pages:
        for number in range(3):
            if (number == 1) != first:
                pages.write(rare[0], photometric="minisblack", compression="zlib", metadata=None)
            else:
                pages.write(np.asarray(palette), photometric="palette", colormap=table, metadata=None)
    source, frames = read(tmp_path / "a.tif")
    assert source.about.bits == 32
    for number, frame in enumerate(frames):
        if (number == 1) != first:
            assert np.abs(frame.pixels[..., 0].astype(int) - GREY).max() <= 1
        else:
            assert np.array_equal(frame.pixels, np.asarray(palette.convert("RGB")).astype(np.uint16) * 257)


@pytest.mark.parametrize("compression", ["zstd", "lzma", "tiff_lzw"])
def test_floats_that_pillow_reads_are_left_to_it(compression: str, tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.float32) / 65535).save(tmp_path / "a.tif", compression=compression)
    assert np.abs(read(tmp_path / "a.tif")[1][0].pixels[..., 0].astype(int) - GREY).max() <= 1


def rare_file(path: Path, places: dict[int, int], tail: bytes = b"") -> Path:
    """Grey and alpha of 16 bit, little-endian, whose directory begins at byte 8, with numbers of further tags."""
    entries = {256: 64, 257: 48, 258: 16 << 16 | 16, 259: 1, 262: 1, 273: 1000, 277: 2, 278: 48, 279: 48 * 64 * 4}
    entries |= {338: 2} | places
    directory = struct.pack("<H", len(entries))
    for tag, value in sorted(entries.items()):
        directory += struct.pack("<HHII", tag, *((3, 2) if tag == 258 else (4, 1)), value)
    data = np.dstack([GREY, ALPHA]).astype("<u2").tobytes()
    path.write_bytes((struct.pack("<2sHI", b"II", 42, 8) + directory + bytes(4)).ljust(1000, b"\0") + data + tail)
    return path


@pytest.mark.parametrize("place", [0, 5, 1 << 20, 900])
def test_a_damaged_exif_does_not_cost_the_picture(place: int, tmp_path: Path) -> None:
    source, [frame] = read(rare_file(tmp_path / "a.tif", {34665: place, 34853: place}))
    assert np.array_equal(frame.pixels[..., 0], GREY)
    assert np.array_equal(frame.alpha, ALPHA)  # type: ignore[arg-type]
    assert source.count == 1


def test_tags_may_share_their_value(tmp_path: Path) -> None:
    places = {282: 900, 283: 900, 296: 2}
    path = rare_file(tmp_path / "a.tif", places)
    data = bytearray(path.read_bytes())
    for tag in (282, 283):
        at = data.index(struct.pack("<HHI", tag, 4, 1))
        data[at : at + 4] = struct.pack("<HH", tag, 5)
    data[900:908] = struct.pack("<II", 300, 1)
    path.write_bytes(data)
    assert read(path)[0].about.dpi == (300, 300)


def test_directories_that_lead_to_themselves_end(tmp_path: Path) -> None:
    assert len(read(rare_file(tmp_path / "a.tif", {34665: 8, 34853: 8}))[1]) == 1
    data = bytearray((tmp_path / "a.tif").read_bytes())
    (count,) = struct.unpack_from("<H", data, 8)
    struct.pack_into("<I", data, 10 + 12 * count, 8)  # the next page
    (tmp_path / "a.tif").write_bytes(data)
    assert len(read(tmp_path / "a.tif")[1]) == 1


@pytest.mark.parametrize("same", [False, True])
def test_tags_that_share_their_values_are_not_copied_over_and_over(same: bool, tmp_path: Path) -> None:
    """A thousand entries of one megabyte, or of one directory."""
    start = 1000 + 48 * 64 * 4
    entries = b"".join(
        struct.pack("<HHII", 40965 if same else 50000 + number, *((4, 1, start) if same else (7, 1 << 20, start)))
        for number in range(1000)
    )
    tail = struct.pack("<H", 1000) + entries + bytes(4)
    path = rare_file(tmp_path / "a.tif", {34665: start}, tail.ljust(1 << 20, b"\0"))
    image = open_image(path)
    assert len(rare_tiff.encoded(image, path)) < 3 << 20
    image.close()


def test_bits_may_be_filled_from_the_other_end(tmp_path: Path) -> None:
    made, places = _Written("<"), []
    for plane in np.moveaxis(COLOURS, 2, 0).astype("<u2"):
        bits = np.unpackbits(np.frombuffer(plane.tobytes(), np.uint8)).reshape(-1, 8)
        places.append(made.append(np.packbits(bits[:, ::-1]).tobytes()))
    page = {256: [64], 257: [48], 258: [16] * 3, 259: [1], 262: [2], 266: [2], 277: [3], 284: [2]}
    (tmp_path / "a.tif").write_bytes(made.page(page | {273: places, 278: [48], 279: [48 * 64 * 2] * 3}))
    assert np.array_equal(read(tmp_path / "a.tif")[1][0].pixels, COLOURS)


def test_more_than_the_memory_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([GREY, ALPHA]), photometric="minisblack", extrasamples=[2])
    monkeypatch.setattr(rare_tiff, "free_memory", lambda device: 48 * 64 * 24 - 1)
    with pytest.raises(ImageError, match=r"a.tif: too large for the memory of this machine"):
        Source(tmp_path / "a.tif")
    monkeypatch.setattr(rare_tiff, "free_memory", lambda device: 48 * 64 * 24)
    assert len(read(tmp_path / "a.tif")[1]) == 1

    def refuse(*args: Any) -> None:
        error = cv2.error("Failed to allocate 36864 bytes")
        error.code = -4
        raise error

    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(ImageError, match=r"a.tif: too large for the memory of this machine"):
        Source(tmp_path / "a.tif")
