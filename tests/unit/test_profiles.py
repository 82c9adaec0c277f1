"""Colours of 16 bit in sRGB: by profiles that are made here, against Pillow's colour management in 8 bit, and by code
points, against FFmpeg."""

import io
import struct
import zlib
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np
import pillow_heif
import pytest
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageCms

from cyclestyle.translate.profiles import coded_to_srgb, deep_to_srgb
from tests.picture_files import CURVES, profile, read, smooth


def by_pillow(pixels: np.ndarray, given: bytes, mode: str) -> np.ndarray:
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(given)), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, srgb, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
    return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), transform)).astype(float)


@pytest.mark.parametrize("curve", CURVES)
def test_16_bit_colours_are_those_of_pillow_and_finer(curve: str) -> None:
    given = profile(CURVES[curve])
    eight = np.array(list(product(range(0, 256, 15), repeat=3)), np.uint8)[None]
    made = deep_to_srgb(eight.astype(np.uint16) * 257, given)
    assert made is not None
    assert np.abs(made / 257 - by_pillow(eight, given, "RGB")).max() < 1.5
    ramp = np.repeat(np.arange(0, 4096, dtype=np.uint16)[None, :, None], 3, 2)
    dark = deep_to_srgb(ramp, given)
    assert dark is not None
    assert len(np.unique(dark)) > 1000


@pytest.mark.parametrize("curve", CURVES)
def test_grey_of_16_bit_gets_the_light_of_its_curve(curve: str) -> None:
    given = profile(CURVES[curve], b"GRAY")
    levels = np.arange(256, dtype=np.uint8)[None]
    made = deep_to_srgb(levels.astype(np.uint16) * 257, given)
    assert made is not None
    error = np.abs(made / 257 - by_pillow(levels, given, "L"))
    assert error[:, 64:].max() < 1.5
    if curve == "linear":  # of whose dark levels Pillow makes half of what they are
        assert made[0, 1, 0] == pytest.approx(65535 * (1.055 * (1 / 255) ** (1 / 2.4) - 0.055), abs=2)
    else:
        assert error.max() < 1.5


@pytest.mark.parametrize("damage", ["empty", "cut", "another curve", "grey for colours", "tables"])
def test_other_profiles_are_left_to_the_table(damage: str) -> None:
    given = profile(CURVES["gamma"], b"GRAY" if damage == "grey for colours" else b"RGB ")
    wrong = {"empty": b"", "cut": given[:200], "another curve": given.replace(b"curv", b"abcd"),
             "tables": given.replace(b"wtpt", b"A2B0")}.get(damage, given)  # fmt: skip
    assert deep_to_srgb(np.zeros((2, 2, 3), np.uint16), wrong) is None


def by_ffmpeg(pixels: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """It writes for a screen of BT.1886, whose light is a power of 2.4."""
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le")
    frame.color_primaries, frame.color_trc = primaries, transfer
    made = VideoReformatter().reformat(frame, format="rgb48le", dst_color_trc=1, dst_color_primaries=1).to_ndarray()
    light = (made / 65535) ** 2.4
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 65535


@pytest.mark.parametrize(("primaries", "transfer"), [(9, 16), (9, 18), (12, 13)])
def test_colours_of_code_points_are_those_of_ffmpeg(primaries: int, transfer: int) -> None:
    pixels = smooth(48, 64, np.uint16) // 4 + np.uint16(18_000)
    made = coded_to_srgb(pixels, primaries, transfer)
    error = np.abs(made - by_ffmpeg(pixels, primaries, transfer))
    inside = ((made > 0) & (made < 65535)).all(-1)  # it bends colours that are near the bounds of sRGB
    assert inside.mean() > 0.5
    assert np.quantile(error[inside], 0.9) < 128


def test_diffuse_white_of_high_dynamic_range_is_white() -> None:
    for transfer, white in ((16, 0.5807), (18, 0.75)):  # BT.2408, table 1
        levels = np.array([white - 0.01, white + 0.001, 1]) * 65535
        made = coded_to_srgb(np.repeat(levels.astype(np.uint16)[None, :, None], 3, 2), 9, transfer)
        assert (made[0, 0] < 65535).all()
        assert (made[0, 1:] == 65535).all()


def with_code_points(path: Path, pixels: np.ndarray, primaries: int, transfer: int, also: bytes | None = None) -> None:
    """A picture of uint16 (H, W, 3); `also`: a profile beside them."""
    if path.suffix == ".heic":
        picture = pillow_heif.from_bytes("RGB;16", pixels.shape[1::-1], pixels.tobytes())
        picture.info["icc_profile"] = also
        picture.save(path, quality=-1, chroma=444, color_primaries=primaries, transfer_characteristics=transfer)
        return
    said = [np.frombuffer(also, np.uint8)] if also else []
    kinds, options = [cv2.IMAGE_METADATA_ICCP] * len(said), [cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_QUALITY, 100]
    deep = pixels[..., ::-1] if path.suffix == ".png" else pixels[..., ::-1] >> 6
    _, encoded = cv2.imencodeWithMetadata(path.suffix, deep, kinds, said, options if path.suffix == ".avif" else [])
    data = encoded.tobytes()
    if path.suffix == ".png":
        chunk = b"cICP" + bytes([primaries, transfer, 0, 1])
        data = data[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    else:
        at = data.index(b"colrnclx") + 8
        data = data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", [".avif", ".heic", ".png"])
def test_pictures_that_tell_code_points_are_taken_to_srgb(suffix: str, tmp_path: Path) -> None:
    pixels, path = smooth(64, 96, np.uint16), tmp_path / f"a{suffix}"
    with_code_points(path, pixels, 9, 16)
    [frame] = read(path)[1]
    assert np.abs(frame.pixels.astype(int) - coded_to_srgb(pixels, 9, 16)).mean() < 3 * 257
    with_code_points(path, pixels, 1, 13)
    [frame] = read(path)[1]
    assert np.abs(frame.pixels.astype(int) - pixels).mean() < 257
    given = profile(CURVES["gamma"])
    with_code_points(path, pixels, 9, 16, given)  # in a PNG they count more than the profile, elsewhere less
    [frame] = read(path)[1]
    expected = coded_to_srgb(pixels, 9, 16) if suffix == ".png" else deep_to_srgb(pixels, given)
    assert np.abs(frame.pixels.astype(int) - expected).mean() < 3 * 257


def test_code_points_count_for_8_bits_too(tmp_path: Path) -> None:
    shallow = Image.fromarray(smooth(64, 96))
    pillow_heif.register_heif_opener()
    shallow.save(tmp_path / "a.heic", quality=-1, chroma=444, color_primaries=12, transfer_characteristics=13)
    [frame] = read(tmp_path / "a.heic")[1]
    assert frame.pixels.dtype == np.uint8
    assert np.abs(frame.pixels - coded_to_srgb(smooth(64, 96) * np.uint16(257), 12, 13) / 257).mean() < 2


def test_light_of_linear_code_points_is_encoded() -> None:
    assert coded_to_srgb(np.full((1, 1, 3), 14_000, np.uint16), 1, 8)[0, 0, 0] == pytest.approx(
        65535 * (1.055 * (14_000 / 65535) ** (1 / 2.4) - 0.055), abs=1
    )


def test_the_code_points_of_a_png_are_those_of_its_chunk(tmp_path: Path) -> None:
    pixels = smooth(64, 96, np.uint16)
    cv2.imwrite(str(tmp_path / "plain.png"), pixels[..., ::-1])
    data = (tmp_path / "plain.png").read_bytes()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    before = chunk(b"tEXt", b"Comment\0" + b"a" * 70_000 + b"\0\0\0\4cICP\x09\x10\0\1")
    (tmp_path / "text.png").write_bytes(data[:33] + before + data[33:])
    assert np.array_equal(read(tmp_path / "text.png")[1][0].pixels, pixels)
    (tmp_path / "late.png").write_bytes(data[:33] + before + chunk(b"cICP", bytes([9, 16, 0, 1])) + data[33:])
    assert np.array_equal(read(tmp_path / "late.png")[1][0].pixels, coded_to_srgb(pixels, 9, 16))
    profiled = chunk(b"iCCP", b"x\0\0" + zlib.compress(profile(CURVES["gamma"])))
    for points, expected in (((1, 13), pixels), ((2, 2), deep_to_srgb(pixels, profile(CURVES["gamma"])))):
        told = chunk(b"cICP", bytes([*points, 0, 1])) + profiled
        (tmp_path / "both.png").write_bytes(data[:33] + told + data[33:])
        assert np.array_equal(read(tmp_path / "both.png")[1][0].pixels, expected)


def test_code_points_count_alone_for_all_frames(tmp_path: Path) -> None:
    frames = [Image.fromarray(smooth(64, 96, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], icc_profile=profile(CURVES["gamma"]))
    data, chunk = (tmp_path / "a.png").read_bytes(), b"cICP" + bytes([12, 13, 0, 1])
    told = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(data[:33] + told + data[33:])
    for frame, plain in zip(read(tmp_path / "a.png")[1], frames, strict=True):
        expected = coded_to_srgb(np.asarray(plain) * np.uint16(257), 12, 13)
        assert np.abs(frame.pixels - expected / 257).max() <= 0.51
