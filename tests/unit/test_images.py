"""Reading any picture as it is meant to be seen, and the way into a network and back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclestyle.config import DataConfig
from cyclestyle.images import (
    ImageError,
    find_images,
    grid,
    pad_to_multiple,
    prepare_image,
    read_image,
    readable_suffixes,
    resize_image,
    to_pixels,
    to_tensor,
    write_image,
)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 0), (255, 255, 255))
    picture = read_image(save(tmp_path / "a.png", image, exif=exif))
    assert picture.shape == (4, 2, 3)
    assert picture[0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 100, [100, 100, 100]),
        ("1", 1, [255, 255, 255]),
        ("LA", (100, 0), [255, 255, 255]),
        ("RGBA", (0, 0, 0, 0), [255, 255, 255]),
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
        ("CMYK", (255, 0, 0, 0), [0, 255, 255]),
        ("I;16", 65535, [255, 255, 255]),
        ("I;16", 25700, [100, 100, 100]),
        ("F", 0.5, [128, 128, 128]),
        ("F", 100.0, [100, 100, 100]),
    ],
)
def test_every_mode_becomes_rgb_in_a_defined_way(tmp_path: Path, mode: str, value: object, expected: list[int]) -> None:
    suffix = ".tif" if mode in ("CMYK", "F") else ".png"
    path = save(tmp_path / f"a{suffix}", Image.new(mode, (3, 2), value))  # type: ignore[arg-type]
    picture = read_image(path)
    assert picture.dtype == np.uint8
    assert picture.shape == (2, 3, 3)
    assert picture[1, 2].tolist() == expected


def test_a_palette_with_a_transparent_colour_is_laid_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.putpixel((1, 0), 1)
    picture = read_image(save(tmp_path / "a.png", image, transparency=0))
    assert picture[0].tolist() == [[255, 255, 255], [9, 9, 9]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not a picture"), (b"hello", "not a picture"), (None, "truncated"), ("missing", "no such file")],
)
def test_what_is_no_picture_is_named_with_the_reason(tmp_path: Path, content: object, reason: str) -> None:
    path = tmp_path / "a.jpg"
    if content is None:
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        save(path, Image.fromarray(noise))
        path.write_bytes(path.read_bytes()[:1500])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_a_picture_over_the_safety_limit_is_refused(real_data: Path) -> None:
    with pytest.raises(ImageError, match="refused: more than 179 megapixels"):
        read_image(real_data / "awkward" / "decompression_bomb.gif")


def test_awkward_files_are_read_or_refused_with_their_name(real_data: Path) -> None:
    bad = {"broken.png", "decompression_bomb.gif", "made_text_named.jpg", "made_truncated_60pct.jpg"}
    bad |= {"made_zero_bytes.jpg", "truncated_jpeg.jpg"}
    refused = set()
    for path in find_images(real_data / "awkward"):
        try:
            assert read_image(path).ndim == 3
        except ImageError as error:
            refused.add(Path(str(error).split(": ")[0]).name)
    assert refused == bad


def test_uint8_survives_the_way_into_a_network_and_back() -> None:
    picture = np.arange(256, dtype=np.uint8).reshape(8, 32, 1).repeat(3, 2)
    tensor = to_tensor(picture)
    assert tensor.shape == (1, 3, 8, 32)
    assert (float(tensor.min()), float(tensor.max())) == (-1, 1)
    assert np.array_equal(to_pixels(tensor)[0], picture)
    assert to_pixels(torch.full((1, 3, 1, 1), 1.5)).max() == 255


def test_resizing_does_not_alias_fine_stripes() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(stripes, 100, "short")
    assert small.shape == (100, 100, 3)
    assert small.std() < 5


@pytest.mark.parametrize(("how", "shape"), [("short", (40, 80)), ("square", (40, 40)), ("none", (50, 100))])
def test_resize_modes(how: str, shape: tuple[int, int]) -> None:
    assert resize_image(np.zeros((50, 100, 3), np.uint8), 40, how).shape[:2] == shape


def stretching(percent: float | None, load_size: int = 100) -> DataConfig:
    values = {"prepare": {"A": {"autocontrast": percent}}, "load_size": load_size, "crop_size": 32}
    return DataConfig.model_validate(values)


def test_ink_on_brown_silk_is_prepared_to_black_on_white() -> None:
    silk = np.tile(np.linspace(0, 1, 100)[:, None], (1, 100))[..., None] * (100, 80, 70) + (60, 50, 30)
    silk = silk.round().astype(np.uint8)
    stretched = prepare_image(silk, stretching(2), "A").astype(int)
    assert (stretched[:2] == 0).all()
    assert (stretched[-2:] == 255).all()
    assert (np.diff(stretched[:, 0], axis=0) >= 0).all()
    assert np.ptp(stretched, 2).max() < 10
    assert np.array_equal(prepare_image(silk, stretching(2), "B"), silk)
    assert np.array_equal(prepare_image(silk, stretching(None), "A"), silk)


def test_blank_paper_is_prepared_to_blank_paper() -> None:
    paper = np.random.default_rng(0).integers(233, 238, (100, 100, 3), dtype=np.uint8)
    paper[50, 50:60] = 20  # a stroke that is less than is cut off
    stretched = prepare_image(paper, stretching(2), "A")
    assert (stretched[50, 50:60] == 0).all()
    assert stretched[:50].min() > 235
    assert prepare_image(paper[:1, :1], stretching(2), "A").min() == 255


def test_a_large_original_is_prepared_like_its_small_copy() -> None:
    rng = np.random.default_rng(0)
    large = np.tile(np.linspace(60, 200, 1600)[:, None, None], (1, 1600, 3)) + rng.normal(0, 25, (1600, 1600, 3))
    large = large.clip(0, 255).astype(np.uint8)
    config = stretching(2)
    first_resized = prepare_image(resize_image(large, 100, "short"), config, "A").astype(int)
    first_prepared = resize_image(prepare_image(large, config, "A"), 100, "short")
    assert np.abs(first_resized - first_prepared).mean() < 6  # 18 if the original were measured at its own size


@pytest.mark.parametrize("shape", [(1, 1), (5, 100), (32, 32), (33, 35)])
def test_padding_reaches_the_stride_and_keeps_the_picture(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    padded = pad_to_multiple(picture, 4)
    assert all(side % 4 == 0 and side >= 32 for side in padded.shape[:2])
    assert np.array_equal(padded[: shape[0], : shape[1]], picture)


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub" / "a.png"
    write_image(path, np.zeros((4, 4, 3), np.uint8))
    before = path.read_bytes()

    def half(self: Image.Image, file: object, **options: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="No space"):
        write_image(path, np.ones((4, 4, 3), np.uint8))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("suffix", [".bmp", ".jpg", ".jpeg", ".png", ".tga", ".tif", ".webp"])
def test_every_writable_suffix_reads_back(tmp_path: Path, suffix: str) -> None:
    picture = np.full((16, 24, 3), 77, np.uint8)
    write_image(tmp_path / f"a{suffix}", picture)
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - 77).max() <= 2


def test_pictures_are_found_in_subfolders_and_links_and_nothing_else(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in ("b/2.PNG", "a.jpg", "b/1.webp", "notes.txt", ".hidden.png", "b/x.eps"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == ["a.jpg", "b/1.webp", "b/2.PNG"]
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / ".thumbnails" / "1.png").touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "3.png").touch()
    (tmp_path / "c").symlink_to(elsewhere)
    found = [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)]
    assert found == ["a.jpg", "b/1.webp", "b/2.PNG", "c/3.png"]
    assert {".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".avif"} <= readable_suffixes()


def test_a_picture_too_large_for_its_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a.tga: cannot be written: .*; choose another format"):
        write_image(tmp_path / "a.tga", np.zeros((1, 70000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_grid_holds_every_picture_under_its_title() -> None:
    rows = [[np.full((8, 10, 3), 50, np.uint8), np.full((6, 20, 3), 90, np.uint8)]] * 2
    sheet = grid(rows, ["one", "two"], gap=2)
    assert sheet.shape == (16 + 8 * 2 + 2 * 3, 10 + 20 + 2 * 3, 3)
    assert (sheet[16:] == 50).all(2).sum() == 160
    assert (sheet[16:] == 90).all(2).sum() == 240
