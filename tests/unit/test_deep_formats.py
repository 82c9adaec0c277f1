"""PPM, JPEG 2000, AVIF and HEIC of more than 8 bits a channel."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image

from cyclestyle.deep import bits_of
from cyclestyle.images import ImageError, read_image
from cyclestyle.provenance import read_provenance
from cyclestyle.translate.reading import About, Frame, Source
from cyclestyle.translate.writing import not_held, srgb_profile, write_frames
from tests.picture_files import ORIGIN, deep_jpeg_2000, read, smooth


def widened(values: np.ndarray, white: int) -> np.ndarray:
    return np.rint(values * (65535 / white))


@pytest.mark.parametrize("white", [300, 1023, 4095, 65535])
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_a_deep_ppm_is_read_in_full(grey: bool, text: bool, white: int, tmp_path: Path) -> None:
    values = np.rint(smooth(dtype=np.uint16) / 65535 * white).astype(np.uint16)
    values[0, 0], values[0, 1] = 0, white
    values = values[..., 0] if grey else values
    kind = f"P{(2 if grey else 3) + (0 if text else 3)}\n# by hand\n36 24\n{white}\n".encode()
    body = " ".join(map(str, values.ravel())).encode() if text else values.astype(">u2").tobytes()
    (tmp_path / "a.ppm").write_bytes(kind + body)
    source, [frame] = read(tmp_path / "a.ppm")
    assert source.deep
    assert source.about.bits == white.bit_length()
    assert np.array_equal(frame.pixels, widened(values if not grey else np.repeat(values[..., None], 3, 2), white))
    if white == 4095 and not text:  # Pillow refuses it in text
        (tmp_path / "b.ppm").write_bytes(kind + b"\xff" * len(body))
        assert (read(tmp_path / "b.ppm")[1][0].pixels == 65535).all()
    (tmp_path / "b.ppm").write_bytes((kind + body)[: len(kind) + len(body) // 2])
    with pytest.raises(ImageError, match=r"b.ppm: cannot be decoded"):
        read(tmp_path / "b.ppm")


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_jpeg_2000_is_read_in_full_and_its_white_is_white(channels: int, bits: int, tmp_path: Path) -> None:
    values = np.dstack([smooth(64, 96, np.uint16), smooth(64, 96, np.uint16, 1)])[..., :channels].squeeze()
    values = values >> (16 - bits)
    values[0, 0], values[0, 1] = 0, 2**bits - 1
    path = deep_jpeg_2000(tmp_path / "a.jp2", values, bits)
    source, [frame] = read(path)
    assert source.about.bits == bits
    expected = widened(values, 2**bits - 1)
    assert np.array_equal(frame.pixels, np.repeat(expected[..., None], 3, 2) if channels == 1 else expected[..., :3])
    assert (frame.alpha is None) if channels < 4 else np.array_equal(frame.alpha, expected[..., 3])  # type: ignore[arg-type]
    assert read_image(path)[0, 1].tolist() == [255, 255, 255]
    assert read_image(path)[0, 0].tolist() == ([0, 0, 0] if channels < 4 else [255, 255, 255])


def test_jpeg_2000_of_two_sizes_is_refused(tmp_path: Path) -> None:
    path = deep_jpeg_2000(tmp_path / "a.jp2", smooth(64, 96, np.uint16), 16)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"ihdr" + struct.pack(">II", 64, 96), b"ihdr" + struct.pack(">II", 32, 96)))
    with pytest.raises(ImageError, match=r"a.jp2: cannot be decoded"):
        read(path)


@pytest.mark.parametrize("suffix", [".avif", ".heic"])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize(("bits", "kept"), [(10, 10), (12, 12), (16, 12)])
def test_avif_and_heic_keep_10_or_12_bits(suffix: str, transparent: bool, bits: int, kept: int, tmp_path: Path) -> None:
    ramp = np.linspace(20_000, 24_000, 400).astype(np.uint16)  # 15 levels of 256
    pixels, path = np.broadcast_to(ramp[:, None], (67, 400, 3)).copy(), tmp_path / f"a{suffix}"
    alpha = pixels[::-1, ::-1, 0].copy() if transparent else None
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Painter"
    write_frames(path, [Frame(pixels, alpha)], About(exif=exif.tobytes(), bits=bits), ORIGIN)
    source, [frame] = read(path)
    assert source.deep
    assert source.about.bits == kept
    assert np.abs(frame.pixels.astype(int) - pixels).mean() < 64
    assert len(np.unique(frame.pixels[5:-5].mean((0, 2)).round())) > 50
    assert (frame.alpha is None) == (alpha is None)
    assert alpha is None or np.abs(frame.alpha.astype(int) - alpha).mean() < 64  # type: ignore[union-attr]
    assert read_provenance(path) == ORIGIN
    with Image.open(path) as image:
        assert image.getexif()[ExifTags.Base.Artist] == "Painter"
        assert image.info["icc_profile"] == srgb_profile()
    write_frames(tmp_path / f"plain{suffix}", [Frame(pixels)], About(bits=bits))  # of which nothing is said
    assert np.abs(read(tmp_path / f"plain{suffix}")[1][0].pixels.astype(int) - pixels).mean() < 64


@pytest.mark.parametrize("suffix", [".avif", ".heic"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_avif_and_heic_are_turned_as_those_of_8_bits(suffix: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for name, pixels in (("deep", smooth(64, 96, np.uint16)), ("plain", smooth(64, 96))):
        write_frames(tmp_path / f"{name}{suffix}", [Frame(pixels)], About(exif=exif.tobytes()))
    [deep], [plain] = (read(tmp_path / f"{name}{suffix}")[1] for name in ("deep", "plain"))
    assert deep.pixels.dtype == np.uint16
    assert deep.pixels.shape == plain.pixels.shape
    assert np.abs(deep.pixels / 257 - plain.pixels).mean() < 2


@pytest.mark.parametrize("mode", ["L;16", "LA;16", "RGBa;16"])
def test_heic_of_other_modes_is_read_in_full(mode: str, tmp_path: Path) -> None:
    pixels, alpha = smooth(64, 96, np.uint16), np.full((64, 96), 40_000, np.uint16)
    kept = [pixels[..., :1] if mode[0] == "L" else (pixels * (40_000 / 65535)).astype(np.uint16)]
    planes = np.dstack(kept + [alpha] * (mode != "L;16"))
    picture = pillow_heif.from_bytes(mode, (96, 64), planes.tobytes())
    picture.save(tmp_path / "a.heic", quality=-1, chroma=444)
    [frame] = read(tmp_path / "a.heic")[1]
    assert frame.pixels.dtype == np.uint16
    shown = pixels if mode[0] != "L" else np.repeat(pixels[..., :1], 3, 2)
    assert np.abs(frame.pixels.astype(int) - shown).mean() < 257
    assert (frame.alpha is None) == (mode == "L;16")
    assert frame.alpha is None or np.abs(frame.alpha - 40_000.0).max() < 100


def test_where_opencv_is_without_avif_8_bits_are_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frames(tmp_path / "a.avif", [Frame(smooth(dtype=np.uint16))], About(bits=10))
    monkeypatch.setattr(cv2, "haveImageWriter", lambda name: False)
    source, [frame] = read(tmp_path / "a.avif")
    assert source.about.bits == 10
    assert frame.pixels.dtype == np.uint8
    deep = Frame(smooth(dtype=np.uint16))
    assert not_held(tmp_path / "b.avif", deep, About(bits=10)) == ["10 bits a channel"]
    write_frames(tmp_path / "b.avif", [deep], About(bits=10))
    assert read(tmp_path / "b.avif")[0].about.bits == 8


def test_a_ppm_in_text_may_have_as_many_pixels_as_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    (tmp_path / "a.ppm").write_bytes(b"P3 36 24 1023 " + b"1023 " * 36 * 24 * 3)
    with Source(tmp_path / "a.ppm", most=36 * 24) as source:
        assert (next(source.frames()).pixels == 65535).all()
    with pytest.raises(ImageError, match="refused: 36x24 are more than"):
        Source(tmp_path / "a.ppm", most=36 * 24 - 1)


@pytest.mark.parametrize("wrong", ["YCC", "CMYK", "signed", "halved", "moved", "17 bits"])
def test_deep_jpeg_2000_that_decoders_get_wrong_is_refused(wrong: str, tmp_path: Path) -> None:
    path = deep_jpeg_2000(tmp_path / "a.jp2", smooth(64, 96, np.uint16), 16)
    data = bytearray(path.read_bytes())
    codestream, colours = data.index(b"\xff\x4f\xff\x51"), data.index(b"colr") + 4
    if wrong in ("YCC", "CMYK"):
        assert data[colours : colours + 7] == b"\1\0\0\0\0\0\x10"
        data[colours + 6] = {"YCC": 18, "CMYK": 12}[wrong]
    elif wrong == "moved":
        data[codestream + 19] = 8
    else:
        place, value = {"signed": (42, 0x8F), "halved": (46, 2), "17 bits": (42, 16)}[wrong]
        data[codestream + place] = value
    path.write_bytes(data)
    with pytest.raises(
        ImageError, match=r"a.jp2: cannot be decoded: 1. bits a channel of JPEG 2000 are read in grey and"
    ):
        read(path)
    with pytest.raises(
        ImageError, match=r"a.jp2: cannot be decoded: 1. bits a channel of JPEG 2000 are read in grey and"
    ):
        read_image(path)


def test_what_lies_beside_a_codestream_counts_for_nothing(tmp_path: Path) -> None:
    path = deep_jpeg_2000(tmp_path / "a.jp2", smooth(64, 96, np.uint16), 16)
    data = path.read_bytes()
    false = bytearray(data[data.index(b"\xff\x4f\xff\x51") :][:60])
    false[42] = 27  # 28 bits, of which a table would take gigabytes
    end = 12 + int.from_bytes(data[12:16], "big")
    path.write_bytes(data[:end] + struct.pack(">I", 8 + len(false)) + b"free" + false + data[end:])
    source, [frame] = read(path)
    assert source.about.bits == 16
    assert np.array_equal(frame.pixels, smooth(64, 96, np.uint16))
    start = data.index(b"\xff\x4f\xff\x51")
    (tmp_path / "b.j2k").write_bytes(data[start:])  # without boxes
    assert np.array_equal(read(tmp_path / "b.j2k")[1][0].pixels, smooth(64, 96, np.uint16))


def test_a_grid_tells_its_bits_itself_and_no_more_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for told, bits in ((10, 10), (28, 12)):  # of which a table would take gigabytes
        properties = [(b"pixi", bytes([0, 0, 0, 0, 3, told, told, told])), (b"av1C", b"\x81\0\0\0")]
        monkeypatch.setattr("cyclestyle.deep.properties_of_heif", lambda path, found=properties: ([], found))
        image = Image.new("RGB", (1, 1))
        image.format = "AVIF"
        assert bits_of(image, Path("a.avif")) == bits


def test_avif_that_opencv_does_not_read_is_read_in_8_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(tmp_path / "a.avif", [Frame(smooth(64, 96, np.uint16))], About(bits=10))

    def refuse(*args: Any) -> None:
        raise cv2.error("two channels")

    for decode in (lambda *args: None, refuse):
        monkeypatch.setattr(cv2, "imdecode", decode)
        source, [frame] = read(tmp_path / "a.avif")
        assert (source.deep, source.cut, frame.pixels.dtype) == (False, (10, 8), np.uint8)
        assert np.abs(frame.pixels.astype(int) - smooth(64, 96)).mean() < 2


@pytest.mark.parametrize("suffix", [".avif", ".heic"])
def test_deep_files_are_smaller_with_less_quality_and_rounded(suffix: str, tmp_path: Path) -> None:
    sizes = []
    for quality in (20, 95):
        write_frames(tmp_path / f"a{suffix}", [Frame(smooth(128, 192, np.uint16))], About(bits=10), quality=quality)
        sizes.append((tmp_path / f"a{suffix}").stat().st_size)
    assert sizes[0] < 0.7 * sizes[1]
    grey = Frame(np.full((64, 96, 3), 32_799, np.uint16))  # 512.0 of 1023 and a little less than 513 of 1024
    write_frames(tmp_path / f"b{suffix}", [grey], About(bits=10))
    assert np.abs(read(tmp_path / f"b{suffix}")[1][0].pixels.astype(int) - 32_799).max() <= 32


@pytest.mark.parametrize("suffix", [".avif", ".heic"])
@pytest.mark.parametrize("bits", [8, 10])
def test_avif_and_heic_stay_lossless_if_they_were(bits: int, suffix: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**bits, (64, 96, 3)).astype(np.uint16)
    kind = {".avif": "AVIF", ".heic": "HEIF"}[suffix]
    frame = Frame(pixels.astype(np.uint8)) if bits == 8 else Frame(np.rint(pixels * (65535 / 1023)).astype(np.uint16))
    write_frames(tmp_path / f"a{suffix}", [frame], About(lossless=True, format=kind, bits=bits))
    source, [read_back] = read(tmp_path / f"a{suffix}")
    assert (source.about.lossless, source.about.format, source.about.bits) == (True, kind, bits)
    assert np.array_equal(read_back.pixels, frame.pixels)
    write_frames(tmp_path / f"b{suffix}", [frame], source.about, quality=100)
    assert np.array_equal(read(tmp_path / f"b{suffix}")[1][0].pixels, frame.pixels)
    for about, quality in ((source.about, 90), (About(lossless=True, format="PNG", bits=bits), None)):
        write_frames(tmp_path / f"b{suffix}", [frame], about, quality=quality)
        source, [read_back] = read(tmp_path / f"b{suffix}")
        assert not source.about.lossless
        assert not np.array_equal(read_back.pixels, frame.pixels)


def test_transparent_heic_stays_lossless(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 256, (67, 99, 4), dtype=np.uint8)
    picture = pillow_heif.from_bytes("RGBA", (99, 67), planes.tobytes())
    picture.save(tmp_path / "a.heic", quality=-1, chroma=444, matrix_coefficients=0)
    source, frames = read(tmp_path / "a.heic")
    write_frames(tmp_path / "b.heic", frames, source.about, ORIGIN)
    again, [frame] = read(tmp_path / "b.heic")
    assert again.about.lossless
    assert np.array_equal(frame.pixels, planes[..., :3])
    assert np.array_equal(frame.alpha, planes[..., 3])  # type: ignore[arg-type]
    assert read_provenance(tmp_path / "b.heic") == ORIGIN


@pytest.mark.parametrize(
    ("name", "options", "lossless"),
    [
        ("a.avif", {"quality": 100}, True),
        ("a.heic", {"quality": -1}, True),
        ("a.jp2", {}, True),
        ("a.j2k", {}, True),
        ("a.jp2", {"irreversible": True}, False),
        ("a.jpg", {}, False),
    ],
)
def test_grey_and_jpeg_2000_tell_whether_they_are_lossless(
    name: str, options: dict[str, Any], lossless: bool, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name, **options)
    source, [frame] = read(tmp_path / name)
    assert source.about.lossless == lossless
    assert np.array_equal(frame.pixels[..., 0], noise) == lossless
    target = tmp_path / ("b.webp" if ".j" in name else f"b{Path(name).suffix}")
    write_frames(target, [frame], source.about)
    assert np.array_equal(read(target)[1][0].pixels, frame.pixels) == lossless
