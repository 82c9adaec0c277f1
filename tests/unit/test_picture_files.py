"""Picture files: what is read of them, and what translations keep of it."""

import io
import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from cyclestyle.images import ImageError, find_images, read_image, register_heic, to_8_bit
from cyclestyle.provenance import read_provenance
from cyclestyle.translate.reading import About, Frame, Source
from cyclestyle.translate.transparency import fill_hidden
from cyclestyle.translate.writing import srgb_profile, suffixes, write_frames
from tests.picture_files import LOSSLESS, ORIGIN, read, smooth


@pytest.mark.parametrize("suffix", sorted(suffixes()))
def test_a_picture_is_written_in_every_format_and_says_where_it_is_from(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    write_frames(path, [Frame(smooth())], About(), ORIGIN)
    _, [frame] = read(path)
    error = np.abs(frame.pixels.astype(int) - smooth()).mean()
    kind = Image.registered_extensions()[suffix]
    assert error == 0 if kind in LOSSLESS else error < (12 if kind == "GIF" else 4)
    assert frame.alpha is None
    assert read_provenance(path) == ORIGIN
    with Image.open(path) as image:
        assert image.format == kind
        assert kind == "GIF" or "sRGB" in ImageCms.getProfileDescription(
            ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        )


def test_fine_colours_stay_in_a_jpeg(tmp_path: Path) -> None:
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255
    write_frames(tmp_path / "a.jpg", [Frame(stripes)], About())
    assert np.abs(read(tmp_path / "a.jpg")[1][0].pixels.astype(int) - stripes).max() < 10


def test_what_was_a_gif_is_the_same_in_webp(tmp_path: Path) -> None:
    Image.fromarray(smooth()).quantize(16).save(tmp_path / "a.gif")
    source, [frame] = read(tmp_path / "a.gif")
    write_frames(tmp_path / "a.webp", [frame], source.about)
    assert np.array_equal(read(tmp_path / "a.webp")[1][0].pixels, frame.pixels)


@pytest.mark.parametrize("suffix", [".avif", ".gif", ".heic", ".jpg", ".png", ".tif", ".webp"])
def test_transparency_is_kept_where_the_format_has_it_and_else_laid_over_white(suffix: str, tmp_path: Path) -> None:
    alpha = np.zeros((24, 36), np.uint8)
    alpha[4:20, 6:30] = 255
    write_frames(tmp_path / f"a{suffix}", [Frame(smooth(), alpha)], About())
    _, [frame] = read(tmp_path / f"a{suffix}")
    if suffix == ".jpg":
        assert frame.alpha is None
        assert frame.pixels[:2].min() > 240
    else:
        assert frame.alpha is not None
        assert np.abs(frame.alpha.astype(int) - alpha).max() <= 2


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".png", ".gif"])
def test_pages_of_several_sizes_are_refused_where_the_format_cannot_hold_them(suffix: str, tmp_path: Path) -> None:
    pages = [Frame(smooth()), Frame(smooth(30, 20))]
    with pytest.raises(ImageError, match=f"a{suffix}: cannot be written: .*; choose another format"):
        write_frames(tmp_path / f"a{suffix}", pages, About(milliseconds=[0, 0]))
    assert list(tmp_path.iterdir()) == []
    write_frames(tmp_path / "a.tif", pages, About(milliseconds=[0, 0]))
    assert [frame.pixels.shape for frame in read(tmp_path / "a.tif")[1]] == [(24, 36, 3), (30, 20, 3)]


def test_later_pages_must_not_be_larger_than_allowed(tmp_path: Path) -> None:
    Image.new("1", (10, 10)).save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("1", (400, 300))])
    with pytest.raises(ImageError, match="400x300 are more than"):
        Source(tmp_path / "a.tif", most=100_000)


def test_the_main_picture_of_a_heic_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    register_heic()
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    red.save(tmp_path / "a.heic", save_all=True, append_images=[blue], primary_index=1)
    assert read(tmp_path / "a.heic")[1][0].pixels[9, 9, 2] > 200


def test_an_animation_that_is_shown_once_stays_so(tmp_path: Path) -> None:
    frames = [Image.fromarray(smooth(seed=seed)) for seed in range(2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    source, pictures = read(tmp_path / "a.gif")
    assert source.about.loop is None
    for suffix, told in ((".webp", 1), (".png", 1), (".gif", None)):
        write_frames(tmp_path / f"b{suffix}", pictures, source.about)
        assert read(tmp_path / f"b{suffix}")[0].about.loop == told


def test_pages_of_a_tiff_are_written_before_the_next_is_taken(tmp_path: Path) -> None:
    alive = weakref.WeakValueDictionary[int, Frame]()

    def pages() -> Iterator[Frame]:
        for seed in range(9):
            assert len(alive) <= 3
            frame = Frame(smooth(seed=seed))
            alive[seed] = frame
            yield frame

    write_frames(tmp_path / "a.tif", pages(), About(milliseconds=[0] * 9))
    assert len(read(tmp_path / "a.tif")[1]) == 9


@pytest.mark.parametrize(
    ("mode", "colour", "shown"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("P", 7, None),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("I", 65535, (255, 255, 255)),
        ("F", 0.5, (128, 128, 128)),
        ("LA", (90, 128), (90, 90, 90)),
        ("RGBA", (9, 8, 7, 128), (9, 8, 7)),
    ],
)
def test_every_mode_is_read_as_rgb(mode: str, colour: object, shown: tuple[int, ...] | None, tmp_path: Path) -> None:
    image = Image.new(mode, (4, 3), colour)  # type: ignore[arg-type]
    shown = shown or image.convert("RGB").getpixel((0, 0))  # type: ignore[assignment]
    image.save(tmp_path / "a.tif")
    _, [frame] = read(tmp_path / "a.tif")
    assert frame.pixels.shape == (3, 4, 3)
    assert to_8_bit(frame.pixels)[0, 0].tolist() == list(shown or ())
    assert (frame.alpha is not None) == mode.endswith("A")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif", ".tif"])
def test_all_frames_are_kept_with_their_times(suffix: str, tmp_path: Path) -> None:
    frames = [Frame(smooth(seed=seed)) for seed in range(3)]
    about = About(milliseconds=[100, 250, 40], loop=3)
    write_frames(tmp_path / f"a{suffix}", iter(frames), about, ORIGIN)
    source, read_back = read(tmp_path / f"a{suffix}")
    assert source.count == len(read_back) == 3
    for seed, frame in enumerate(read_back):
        assert np.abs(frame.pixels.astype(int) - smooth(seed=seed)).mean() < 12
    assert read_provenance(tmp_path / f"a{suffix}") == ORIGIN
    if suffix != ".tif":
        assert source.about.milliseconds == pytest.approx([100, 250, 40], abs=1)
        assert source.about.loop == (0 if suffix == ".avif" else 3)


def test_what_a_png_shows_where_nothing_moves_is_no_frame(tmp_path: Path) -> None:
    still, *moving = (Image.fromarray(smooth(seed=seed)) for seed in range(3))
    still.save(tmp_path / "a.png", save_all=True, default_image=True, append_images=moving, duration=[100, 200])
    source, frames = read(tmp_path / "a.png")
    assert source.about.milliseconds == [100, 200]
    for seed, frame in enumerate(frames, 1):
        assert np.array_equal(frame.pixels, smooth(seed=seed))


def test_a_format_of_one_picture_gets_the_first(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.jpg", [Frame(smooth()), Frame(smooth(seed=1))], About(milliseconds=[10, 10]))
    assert read(tmp_path / "a.jpg")[0].count == 1


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_stays_lossless_if_it_was(lossless: bool, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.webp", lossless=lossless, icc_profile=srgb_profile() + bytes(6000))
    source, _ = read(tmp_path / "a.webp")
    assert source.about.lossless == lossless
    write_frames(tmp_path / "b.webp", [Frame(noise)], source.about)
    assert np.array_equal(read(tmp_path / "b.webp")[1][0].pixels, noise) == lossless


def test_hidden_colours_change_nothing_and_seen_ones_stay() -> None:
    alpha = np.zeros((24, 36), np.uint8)
    alpha[6:18, 8:28], alpha[6, 8:28] = 255, 100
    hidden = (alpha == 0)[..., None]
    one, other = (fill_hidden(np.where(hidden, colour, smooth()).astype(np.uint8), alpha) for colour in (0, 255))
    assert np.array_equal(one, other)
    assert np.array_equal(one[6:18, 8:28], smooth()[6:18, 8:28])
    halves = np.zeros((24, 36, 3), np.uint8)
    halves[:, 8:18, 0], halves[:, 18:28, 2] = 255, 255
    red, _, blue = np.moveaxis(fill_hidden(halves, alpha)[6:18].astype(int), 2, 0)
    assert (red[:, 6:8] > blue[:, 6:8] + 60).all(), "the nearer surroundings go on"
    assert (blue[:, 28:30] > red[:, 28:30] + 60).all()
    assert np.array_equal(fill_hidden(smooth(), np.full((24, 36), 255, np.uint8)), smooth())


def test_more_pixels_than_are_allowed_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a.png: refused: 40x30 are more than 0 megapixels; --max-megapixels"):
        Source(tmp_path / "a.png", most=1199)
    assert Source(tmp_path / "a.png", most=1200).count == 1


def test_a_bomb_is_refused_with_the_option_that_allows_it_to_translate_and_without_it_to_train(tmp_path: Path) -> None:
    Image.new("1", (20000, 18000)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a.png: refused: more than 179 megapixels; --max-megapixels allows more"):
        Source(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a.png: refused: more than 179 megapixels$"):
        read_image(tmp_path / "a.png")


def test_a_text_that_would_unpack_to_hundreds_of_megabytes_is_refused(tmp_path: Path) -> None:
    packed = b"Comment\0\0" + zlib.compress(bytes(300 * 2**20), 9)
    chunk = struct.pack(">I", len(packed)) + b"zTXt" + packed + struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    Image.fromarray(smooth()).save(tmp_path / "a.png")
    png = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(png[:33] + chunk + png[33:])
    with pytest.raises(ImageError, match=r"a.png: cannot be decoded: Decompressed data too large"):
        Source(tmp_path / "a.png")


def test_a_format_without_room_for_a_picture_is_named(tmp_path: Path) -> None:
    wide = Frame(np.zeros((32, 70_000, 3), np.uint8))
    with pytest.raises(ImageError, match=r"a.jpg: cannot be written: .+; choose another format"):
        write_frames(tmp_path / "a.jpg", [wide], About())


def test_without_its_package_a_heic_file_is_found_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frames(tmp_path / "a.heic", [Frame(smooth())], About())
    monkeypatch.setattr("cyclestyle.images.register_heic", lambda: False)
    [path] = find_images(tmp_path)
    with pytest.raises(ImageError, match=r"a.heic: HEIC needs a package more: pip install 'cyclestyle\[heic\]'"):
        Source(path)


def test_an_animation_that_memory_does_not_hold_is_refused_before_its_second_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frames() -> Iterator[Frame]:
        yield Frame(smooth())
        pytest.fail("more work than needed")

    monkeypatch.setattr("cyclestyle.translate.writing.free_memory", lambda device: 10**6)
    with pytest.raises(ImageError, match=r"a\.gif: .* 10000 frames of \d+x\d+ need .*iB of memory together, 1 MiB are"):
        write_frames(tmp_path / "a.gif", frames(), About(milliseconds=[40.0] * 10_000))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name in ("pipe.jpg", "folder.jpg", "loop.jpg", "missing.jpg"):
        with pytest.raises(ImageError, match=name):
            Source(tmp_path / name)


def test_a_file_that_came_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"

    def frames() -> Iterator[Frame]:
        yield Frame(smooth())

    def came(frame: Frame, kind: str) -> Image.Image:
        path.write_bytes(b"of somebody else")
        return Image.fromarray(frame.pixels)

    monkeypatch.setattr("cyclestyle.translate.writing._image", came)
    for links in (True, False):
        if not links:
            monkeypatch.setattr(os, "link", lambda *paths, **others: os.chmod(tmp_path / "none", 0))
        with pytest.raises(FileExistsError):
            write_frames(path, frames(), About(), overwrite=False)
        assert [(p, p.read_bytes()) for p in tmp_path.iterdir()] == [(path, b"of somebody else")]
