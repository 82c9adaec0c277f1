"""PNG and AVIF that move: frames laid over others, 16 bits a channel, no loss."""

import itertools
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from cyclestyle.images import ImageError
from cyclestyle.provenance import read_provenance
from cyclestyle.translate.apng import SIGNATURE, MovingPng, chunk
from cyclestyle.translate.moving_avif import moving_avif
from cyclestyle.translate.reading import About, Frame
from cyclestyle.translate.writing import not_held, write_frames
from tests.picture_files import ORIGIN, read, smooth

HEIGHT, WIDTH = 24, 36
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # of colour types
Part = tuple[int, int, int, int, np.ndarray]  # left, top, what becomes of it, how it is laid, (h, w, C)


def moving_png(path: Path, parts: Sequence[Part], kind: int, other: np.ndarray | None = None) -> Path:
    """uint8 or uint16 parts of a picture of HEIGHT and WIDTH.

    Args:
        other: what programs show that know of no others.
    """

    def coded(pixels: np.ndarray) -> bytes:
        lines = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(len(pixels), -1)
        return zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))

    header = struct.pack(">IIBB3x", WIDTH, HEIGHT, 8 * parts[0][4].itemsize, kind)
    data = SIGNATURE + chunk(b"IHDR", header) + chunk(b"acTL", struct.pack(">II", len(parts), 0))
    data += b"" if other is None else chunk(b"IDAT", coded(other))
    numbers = itertools.count()
    for number, (left, top, after, how, pixels) in enumerate(parts):
        size = pixels.shape[1], pixels.shape[0], left, top
        data += chunk(b"fcTL", struct.pack(">5I2H2B", next(numbers), *size, 1, 30, after, how))
        lines = coded(pixels)
        if number == 0 and other is None:
            data += chunk(b"IDAT", lines)
        else:
            for piece in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
                data += chunk(b"fdAT", struct.pack(">I", next(numbers)) + piece)
    path.write_bytes(data + chunk(b"IEND", b""))
    return path


def random_parts(random: np.random.Generator, kind: int, dtype: type) -> list[Part]:
    parts = []
    for number in range(5):
        left, top = (0, 0) if number == 0 else (int(random.integers(WIDTH - 4)), int(random.integers(HEIGHT - 4)))
        high, wide = HEIGHT - top, WIDTH - left
        if number:
            high, wide = int(random.integers(1, high + 1)), int(random.integers(1, wide + 1))
        pixels = random.integers(0, 256, (high, wide, CHANNELS[kind]))
        if kind in (4, 6):
            pixels[..., -1] = random.choice([0, 90, 200, 255], (high, wide))
        pixels = pixels.astype(dtype) * (257 if dtype == np.uint16 else 1)
        parts.append((left, top, int(random.integers(3)), int(random.integers(2)), pixels))
    return parts


@pytest.mark.parametrize("kind", [4, 6])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("seed", range(4))
def test_frames_are_laid_over_others_as_ffmpeg_does(kind: int, dtype: type, seed: int, tmp_path: Path) -> None:
    parts = random_parts(np.random.default_rng(seed), kind, dtype)
    parts[0] = (*parts[0][:2], seed % 2, *parts[0][3:])
    whole = parts[1][4][:1, :1].repeat(HEIGHT, 0).repeat(WIDTH, 1)
    source, frames = read(moving_png(tmp_path / "a.png", parts, kind, whole if seed < 2 else None))
    shallow = [(*part[:4], (part[4] // (257 if dtype == np.uint16 else 1)).astype(np.uint8)) for part in parts]
    with av.open(str(moving_png(tmp_path / "b.png", shallow, kind))) as file:
        expected = [frame.to_ndarray(format="rgba").astype(float) for frame in file.decode(video=0)]
    assert (len(frames), len(expected), source.deep) == (5, 5, dtype == np.uint16)
    assert source.about.milliseconds == pytest.approx([1000 / 30] * 5)
    for frame, wanted in zip(frames, expected, strict=True):
        assert frame.pixels.dtype == dtype
        assert frame.alpha is not None
        scale = 257 if dtype == np.uint16 else 1
        assert np.abs(frame.alpha / scale - wanted[..., 3]).max() <= 1
        assert np.abs(frame.pixels / scale - wanted[..., :3])[wanted[..., 3] > 0].max() <= 1


@pytest.mark.parametrize("kind", [0, 2])
def test_frames_without_transparency_take_their_place_until_it_is_cleared(kind: int, tmp_path: Path) -> None:
    parts = random_parts(np.random.default_rng(0), kind, np.uint16)
    stays = [(*part[:2], 0, *part[3:]) for part in parts]
    frames = read(moving_png(tmp_path / "a.png", stays, kind))[1]
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint16)
    for (left, top, _, _, pixels), frame in zip(stays, frames, strict=True):
        canvas[top : top + len(pixels), left : left + pixels.shape[1]] = pixels
        assert np.array_equal(frame.pixels, canvas)
        assert frame.alpha is None
    cleared = [(0, 0, 1, 0, parts[0][4]), (8, 4, 0, 0, parts[0][4][:6, :9])]
    for frame, visible in zip(
        read(moving_png(tmp_path / "b.png", cleared, kind))[1], (HEIGHT * WIDTH, 54), strict=True
    ):
        assert frame.alpha is not None
        assert (frame.alpha == 65535).sum() == visible
        assert set(np.unique(frame.alpha)) <= {0, 65535}


def test_a_moving_png_of_a_palette_is_read(tmp_path: Path) -> None:
    pictures = [Image.fromarray(smooth(seed=seed)).quantize(64) for seed in range(3)]
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], duration=70)
    source, frames = read(tmp_path / "a.png")
    assert source.about.milliseconds == [70, 70, 70]
    assert np.array_equal(frames[0].pixels, np.asarray(pictures[0].convert("RGB")))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_moving_png_is_turned(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for name, dtype in (("a", np.uint8), ("b", np.uint16)):
        pages = [Frame(smooth(dtype=dtype, seed=seed)) for seed in range(2)]
        write_frames(tmp_path / f"{name}.png", pages, About(exif=exif.tobytes(), milliseconds=[40, 40], bits=16))
        for frame, page in zip(read(tmp_path / f"{name}.png")[1], pages, strict=True):
            assert np.array_equal(frame.pixels, page.pixels if orientation == 1 else np.rot90(page.pixels, -1))


@pytest.mark.parametrize("suffix", [".png", ".avif"])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_what_moves_keeps_all_of_its_bits_and_its_notes(
    suffix: str, transparent: bool, bits: int, tmp_path: Path
) -> None:
    random, white = np.random.default_rng(0), 2**bits - 1
    values = random.integers(0, white + 1, (3, HEIGHT, WIDTH, 4))
    planes = values.astype(np.uint8) if bits == 8 else np.rint(values * (65535 / white)).astype(np.uint16)
    frames = [Frame(plane[..., :3], plane[..., 3] if transparent else None) for plane in planes]
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Painter"
    times = [40, 33, 1001 / 24] if suffix == ".png" and bits > 8 else [40, 33, 1000]
    about = About(exif.tobytes(), milliseconds=times, loop=3, lossless=True, format="AVIF", bits=bits)
    path = tmp_path / f"a{suffix}"
    write_frames(path, iter(frames), about, ORIGIN)
    source, found = read(path)
    assert source.about.bits == {".png": max(8, bits) if bits == 8 else 16, ".avif": min(bits, 12)}[suffix]
    assert source.about.lossless
    assert source.about.milliseconds == pytest.approx(times, abs=1e-4)
    assert source.about.loop == {".png": 3, ".avif": 0}[suffix]
    lost = 8 if bits == 16 and suffix == ".avif" else 0
    assert not_held(path, frames[0], about) == ["16 bits a channel"] * (lost > 0)
    for frame, wanted in zip(found, frames, strict=True):
        assert frame.pixels.dtype == wanted.pixels.dtype
        assert np.abs(frame.pixels.astype(int) - wanted.pixels).max() <= lost
        assert (frame.alpha is None) == (wanted.alpha is None)
        assert frame.alpha is None or np.abs(frame.alpha.astype(int) - wanted.alpha).max() <= lost  # type: ignore[operator]
    assert read_provenance(path) == ORIGIN
    with Image.open(path) as image:
        assert image.getexif()[ExifTags.Base.Artist] == "Painter"
        assert b"DigitalSourceType" in image.info["xmp"]
    write_frames(tmp_path / f"b{suffix}", found, replace(source.about, exif=b""))  # of which nothing is said
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(read(tmp_path / f"b{suffix}")[1], found, strict=True))


def test_a_moving_avif_of_10_bits_comes_out_as_one(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avif"), "w") as out:
        stream: Any = out.add_stream("libsvtav1", 25, {"preset": "11"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        for seed in range(20):  # more than are decoded at once
            out.mux(stream.encode(av.VideoFrame.from_ndarray(smooth(64, 96, seed=seed), format="rgb24")))
        out.mux(stream.encode(None))
    source, frames = read(tmp_path / "a.avif")
    assert (source.about.bits, source.cut, source.about.lossless, len(frames)) == (10, None, False, 20)
    for seed, frame in enumerate(frames):
        assert np.abs(frame.pixels / 257 - smooth(64, 96, seed=seed)).mean() < 4
    write_frames(tmp_path / "b.avif", frames, source.about)
    again, written = read(tmp_path / "b.avif")
    assert (again.about.bits, again.about.milliseconds) == (10, [40] * 20)
    for frame, wanted in zip(written, frames, strict=True):
        assert np.abs(frame.pixels.astype(int) - wanted.pixels).mean() < 257
    write_frames(tmp_path / "c.avif", frames, source.about, quality=20)
    assert (tmp_path / "c.avif").stat().st_size < 0.7 * (tmp_path / "b.avif").stat().st_size


def test_where_opencv_knows_no_moving_avif_8_bits_are_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about, pages = About(bits=10, milliseconds=[40] * 2), [Frame(smooth(64, 96, np.uint16, seed)) for seed in range(2)]
    write_frames(tmp_path / "a.avif", pages, about)
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "imdecodeanimation", lambda *args: (False, cv2.Animation()))
        source, frames = read(tmp_path / "a.avif")
        assert (source.deep, source.cut, [frame.pixels.dtype for frame in frames]) == (False, (10, 8), [np.uint8] * 2)
    monkeypatch.delattr(cv2, "imencodeanimation")
    monkeypatch.delattr(cv2, "imdecodeanimation")
    source, frames = read(tmp_path / "a.avif")
    assert (source.deep, source.cut) == (False, (10, 8))
    assert all(np.abs(f.pixels - p.pixels / 257).mean() < 2 for f, p in zip(frames, pages, strict=True))
    assert not_held(tmp_path / "b.avif", pages[0], about) == ["10 bits a channel"]
    write_frames(tmp_path / "b.avif", pages, about)
    assert (read(tmp_path / "b.avif")[0].about.bits, len(read(tmp_path / "b.avif")[1])) == (8, 2)


def test_frames_that_are_missing_are_told(tmp_path: Path) -> None:
    parts = random_parts(np.random.default_rng(0), 6, np.uint16)
    path = moving_png(tmp_path / "a.png", parts, 6)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"fcTL") - 4])
    with pytest.raises(ImageError, match=r"a.png: cannot be decoded: 4 of 5 frames are there"):
        read(path)
    whole = read(moving_png(path, parts, 6))[1]
    path.write_bytes(data.replace(chunk(b"acTL", struct.pack(">II", 5, 0)), chunk(b"acTL", struct.pack(">II", 3, 0))))
    source, fewer = read(path)
    assert (source.count, len(source.about.milliseconds)) == (3, 3)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(fewer, whole[:3], strict=True))
    for late in (0, 1, 9):  # the first counts
        told = chunk(b"acTL", struct.pack(">II", late, 0))
        for at in (data.rindex(b"fcTL") - 4, len(data) - 12, len(data)):
            path.write_bytes(data[:at] + told + data[at:])
            assert len(read(path)[1]) == 5
    left = WIDTH - parts[1][4].shape[1] + 1
    beyond = moving_png(tmp_path / "b.png", [parts[0], (left, *parts[1][1:])], 6)
    with pytest.raises(ImageError, match=r"b.png: cannot be decoded: a frame goes beyond the picture"):
        read(beyond)
    write_frames(tmp_path / "a.avif", [Frame(smooth(dtype=np.uint16))] * 3, About(bits=10, milliseconds=[40] * 3))
    whole = (tmp_path / "a.avif").read_bytes()
    (tmp_path / "a.avif").write_bytes(whole[:-2000])
    with pytest.raises(ImageError, match=r"a.avif: "):
        read(tmp_path / "a.avif")


@pytest.mark.parametrize("suffix", [".png", ".avif"])
def test_deep_pages_that_are_not_alike_do_not_move(suffix: str, tmp_path: Path) -> None:
    page = Frame(smooth(dtype=np.uint16))
    clear = Frame(page.pixels, page.pixels[..., 0].copy())
    for other, told in ((Frame(page.pixels[1:]), "several sizes"), (clear, "transparent and some are not")):
        with pytest.raises(ImageError, match=rf"a{suffix}: cannot be written: .*{told}.*; choose another format"):
            write_frames(tmp_path / f"a{suffix}", [page, other], About(bits=16, milliseconds=[40] * 2))
    assert list(tmp_path.iterdir()) == []


def test_an_avif_of_another_build_is_refused_and_not_spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = cv2.imencodeanimation
    for old, new in ((b"iloc\0", b"iloc\1"), (b"mdat", b"free"), (b"iinf", b"free")):

        def otherwise(*args: Any, old: bytes = old, new: bytes = new) -> tuple[bool, np.ndarray]:
            done, file = encode(*args)
            return done, np.frombuffer(file.tobytes().replace(old, new, 1), np.uint8)

        monkeypatch.setattr(cv2, "imencodeanimation", otherwise)
        with pytest.raises(ValueError, match="OpenCV wrote"):
            moving_avif([smooth()] * 2, [40, 40], 8, 100, b"", b"<x/>")


def test_what_stands_behind_the_frames_counts_too(tmp_path: Path) -> None:
    parts = random_parts(np.random.default_rng(0), 6, np.uint8)
    path, exif = moving_png(tmp_path / "a.png", parts, 6), Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Artist] = 6, "Painter"
    end = chunk(b"IEND", b"")
    path.write_bytes(path.read_bytes().removesuffix(end) + chunk(b"eXIf", exif.tobytes()[6:]) + end)
    source, frames = read(path)
    assert b"Painter" in source.about.exif
    assert source.about.loop == 0
    assert frames[0].pixels.shape == (WIDTH, HEIGHT, 3)


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_level_of_grey_may_be_transparent(bits: int, moving: bool, tmp_path: Path) -> None:
    line = zlib.compress(b"\0" + bytes([1 << (8 - bits), 0, 0, 0, 0, 0, 0, 0][: 4 * bits // 8 or 1]))
    data = SIGNATURE + chunk(b"IHDR", struct.pack(">IIBB3x", 4, 1, bits, 0))
    data += chunk(b"acTL", struct.pack(">II", 2, 0)) * moving + chunk(b"tRNS", struct.pack(">H", 1))
    control = struct.pack(">4I2H2x", 4, 1, 0, 0, 1, 30)
    for number in range(1 + moving):
        data += chunk(b"fcTL", struct.pack(">I", max(0, 2 * number - 1)) + control) * moving
        data += chunk(b"fdAT", struct.pack(">I", 2) + line) if number else chunk(b"IDAT", line)
    (tmp_path / "a.png").write_bytes(data + chunk(b"IEND", b""))
    for frame in read(tmp_path / "a.png")[1]:
        assert frame.alpha is not None
        assert frame.alpha.tolist() == [[0, 255, 255, 255]]
        assert frame.pixels[0, :, 0].tolist() == [255 // (2**bits - 1), 0, 0, 0]


def test_frames_may_be_shown_for_weeks(tmp_path: Path) -> None:
    about = About(milliseconds=[3e9, 40], lossless=True, format="AVIF")
    write_frames(tmp_path / "a.avif", [Frame(smooth())] * 2, about)
    assert len(read(tmp_path / "a.avif")[1]) == 2
    write_frames(tmp_path / "a.png", [Frame(smooth(dtype=np.uint16))] * 2, replace(about, milliseconds=[3e9, 1e5 / 3]))
    assert read(tmp_path / "a.png")[0].about.milliseconds == pytest.approx([65_535_000, 1e5 / 3], rel=1e-4)


def test_many_chunks_take_no_longer_than_few(tmp_path: Path) -> None:
    parts = random_parts(np.random.default_rng(0), 6, np.uint8)
    path = moving_png(tmp_path / "a.png", parts, 6)
    data, end = path.read_bytes(), chunk(b"IEND", b"")
    path.write_bytes(data.removesuffix(end) + chunk(b"abCd", bytes(90)) * 200_000 + end)
    began = time.perf_counter()
    MovingPng(path.read_bytes())
    assert time.perf_counter() - began < 10
