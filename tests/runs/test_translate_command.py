"""The translation command: what it prints, writes and returns."""

import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from cyclestyle.files import sha256
from cyclestyle.images import ImageError, find_images, read_image
from cyclestyle.provenance import read_provenance
from cyclestyle.translate.__main__ import main
from cyclestyle.translate.reading import About, Frame, Source
from cyclestyle.translate.translator import Translator
from cyclestyle.translate.writing import write_frames
from tests.picture_files import deep_jpeg_2000, smooth


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    Image.effect_noise((50, 30), 80).convert("RGB").save(folder / "a.jpg")
    Image.effect_noise((50, 30), 80).convert("RGB").save(folder / "b.png")
    Image.effect_noise((1, 1), 80).convert("RGB").save(folder / "deep" / "c.webp")
    return folder


@pytest.mark.parametrize("batch_size", ["1", "4"])
def test_a_folder_is_translated_with_names_and_sizes_kept(
    run_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], batch_size: str
) -> None:
    out = tmp_path / "out"
    before = {p: p.read_bytes() for p in find_images(photos)}
    assert (
        main([str(run_dir), str(photos), "-o", str(out), "--to", "ink", "--device", "cpu", "--batch-size", batch_size])
        == 0
    )
    printed = capsys.readouterr().out
    assert "photo to ink (BtoA), 3 pictures, on cpu" in printed
    assert f"3 translated into {out}" in printed
    for source in before:
        made = read_image(out / source.relative_to(photos))
        assert made.shape == read_image(source).shape
    assert {p: p.read_bytes() for p in find_images(photos)} == before


def test_a_broken_file_is_reported_and_the_rest_go_on(
    run_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "aa.jpg").write_bytes(b"no picture")
    (photos / "ab.jpg").symlink_to(photos / "nowhere.jpg")
    assert main([str(run_dir), str(photos), "-o", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert f"failed: {photos / 'aa.jpg'}: not a picture, or a damaged one" in printed.err
    assert "3 translated into" in printed.out
    assert f"failed: {photos / 'ab.jpg'}: no such file" in printed.err
    assert "2 failed" in printed.out
    assert len(find_images(tmp_path / "out")) == 3


def test_translations_say_that_they_are_generated_unless_it_is_not_wanted(
    run_dir: Path, photos: Path, tmp_path: Path
) -> None:
    words = [str(run_dir), str(photos), "--device", "cpu", "--to", "ink", "--format", "png", "--suffix", "_ink"]
    assert main([*words, "-o", str(tmp_path / "marked")]) == 0
    assert main([*words, "-o", str(tmp_path / "plain"), "--no-provenance"]) == 0
    weights = run_dir / "checkpoints" / "latest.safetensors"
    for name in ("a_ink.png", "b_ink.png", "deep/c_ink.png"):
        told = read_provenance(tmp_path / "marked" / name)
        assert told is not None
        assert (told.model, told.direction, told.names) == (sha256(weights), "BtoA", "photo to ink")
        assert read_provenance(tmp_path / "plain" / name) is None


def test_an_interrupted_job_goes_on_and_shards_share_it(
    run_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = [str(run_dir), str(photos), "-o", str(out), "--skip-existing", "--to", "ink", "--device", "cpu"]
    assert main([*words, "--shard", "1/2"]) == 0
    assert sorted(p.name for p in find_images(out)) == ["a.jpg", "c.webp"]
    times = {path: path.stat().st_mtime_ns for path in find_images(out)}
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(words) == 0
    assert "1 picture (part 2 of 2), on cpu" in capsys.readouterr().out
    assert sorted(p.name for p in find_images(out)) == ["a.jpg", "b.png", "c.webp"]
    monkeypatch.delenv("RANK")
    monkeypatch.setenv("WORLD_SIZE", "none of ours")
    assert main(words) == 0
    assert capsys.readouterr().out == "nothing is left to do\n"
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_an_interruption_says_how_to_go_on(
    run_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Translator, "batch", Mock(side_effect=KeyboardInterrupt))
    words = [str(run_dir), "-o", str(tmp_path / "out"), "--device", "cpu"]
    for inputs, told in (([photos], True), ([photos, "--overwrite"], False), ([photos / "b.png"], False)):
        assert main([*words, *map(str, inputs)]) == 130
        assert ("--skip-existing goes on with the rest" in capsys.readouterr().err) == told


def test_a_scheduler_that_ends_a_job_is_obeyed_like_ctrl_c(
    run_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Translator, "batch", lambda *_: signal.raise_signal(signal.SIGTERM))
    assert main([str(run_dir), str(photos), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 143
    assert "--skip-existing goes on with the rest" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_source_translation_and_the_way_back_can_be_seen_side_by_side(
    run_dir: Path, photos: Path, tmp_path: Path
) -> None:
    words = [str(run_dir), str(photos / "b.png"), "--device", "cpu", "--to", "ink"]
    for name, options in (("plain", ["--both"]), ("two", ["--compare"]), ("three", ["--compare", "--both"])):
        assert main([*words, "-o", str(tmp_path / name), *options]) == 0
        assert len(find_images(tmp_path / name)) == (2 if name == "plain" else 1)
    source, made = read_image(photos / "b.png"), read_image(tmp_path / "plain" / "b.png")
    back = read_image(tmp_path / "plain" / "b_back.png")
    photo = [str(run_dir), str(tmp_path / "plain" / "b.png"), "--to", "photo", "-o", str(tmp_path / "again")]
    assert main(photo) == 0
    assert np.array_equal(read_image(tmp_path / "again" / "b.png"), back)
    gap = np.full((30, 2, 3), 255, np.uint8)
    assert np.array_equal(read_image(tmp_path / "two" / "b.png"), np.concatenate([source, gap, made], 1))
    assert np.array_equal(read_image(tmp_path / "three" / "b.png"), np.concatenate([source, gap, made, gap, back], 1))


def test_a_way_back_that_is_missing_is_made_and_one_that_is_there_stays(
    run_dir: Path, photos: Path, tmp_path: Path
) -> None:
    words = [str(run_dir), str(photos / "b.png"), "--to", "ink", "-o", str(tmp_path), "--skip-existing"]
    assert main(words) == 0
    made = (tmp_path / "b.png").read_bytes()
    assert main([*words, "--both"]) == 0
    back, front = read_provenance(tmp_path / "b_back.png"), read_provenance(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes() == made
    assert back is not None
    assert front is not None
    assert (back.direction, back.names) == ("BtoA, AtoB", "photo to ink to photo")
    assert (front.direction, front.names) == ("BtoA", "photo to ink")
    (tmp_path / "b.png").unlink()
    (tmp_path / "b_back.png").write_bytes(b"somebody else's")
    assert main([*words, "--both"]) == 0
    assert (tmp_path / "b_back.png").read_bytes() == b"somebody else's"
    assert (tmp_path / "b.png").read_bytes() == made


def test_the_way_back_of_an_animation_has_all_frames_too(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Image.effect_noise((40, 36), 80).convert("RGB") for _ in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[50, 90, 70])
    words = [str(run_dir), str(tmp_path / "a.gif"), "-o", str(tmp_path / "out"), "--both"]
    assert main(words) == 0
    for name in ("a.gif", "a_back.gif"):
        with Source(tmp_path / "out" / name) as source:
            assert source.about.milliseconds == [50, 90, 70]
    capsys.readouterr()
    assert (
        main([*words[:2], "-o", str(tmp_path / "first"), "--format", ".jpg", "--tile", "64", "--scale", "native"]) == 0
    )
    assert "a.gif: is of 3 frames, .jpg holds the first" in capsys.readouterr().out
    frames = [Image.effect_noise((80, 70), 80).convert("RGB") for _ in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert main([*words[:2], "-o", str(tmp_path / "tiles"), "--tile", "64"]) == 0
    assert capsys.readouterr().out.count("a.gif: in tiles of 64 pixels") == 1


def test_what_a_format_does_not_hold_is_told(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep, clear = np.full((20, 20, 4), 40_000, np.uint16), np.full((20, 20, 4), 255, np.uint8)
    deep[..., 3], clear[:5, :5, 3] = 65_535, 128
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    words = [str(run_dir), str(tmp_path / "deep.png"), str(tmp_path / "clear.png")]
    lines = ("deep.png: has 16 bits a channel, which", "clear.png: has transparency, which")
    for kind, told in (("jpg", [True, True]), ("webp", [True, False]), ("png", [False, False])):
        assert main([*words, "-o", str(tmp_path / kind), "--format", kind]) == 0
        out = capsys.readouterr().out
        assert [f"{line} .{kind} does not hold" in out for line in lines] == told
    tifffile.imwrite(tmp_path / "ink.tif", deep, photometric="separated", metadata=None)
    assert main([str(run_dir), str(tmp_path / "ink.tif"), "-o", str(tmp_path / "ink")]) == 0
    assert "ink.tif: has 16 bits a channel, of which 8 are read" in capsys.readouterr().out


def test_pictures_of_more_than_8_bits_keep_them(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels, folder = smooth(64, 96, np.uint16), tmp_path / "deep"
    folder.mkdir()
    for name, bits in (("a.avif", 10), ("b.avif", 12), ("c.heic", 10), ("d.png", 16), ("e.tif", 16)):
        write_frames(folder / name, [Frame(pixels)], About(bits=bits))
    deep_jpeg_2000(folder / "f.jp2", pixels, 16)
    (folder / "g.ppm").write_bytes(b"P6 96 64 65535\n" + pixels.astype(">u2").tobytes())
    kept = {"a.avif": 10, "b.avif": 12, "c.heic": 10, "d.png": 16, "e.tif": 16, "f.png": 16, "g.png": 16}
    assert main([str(run_dir), str(folder), "-o", str(tmp_path / "out")]) == 0
    assert "bits a channel" not in capsys.readouterr().out
    made = {}
    for path in (tmp_path / "out").iterdir():
        with Source(path) as source:
            [frame] = source.frames()
            made[path.name] = source.about.bits
            assert frame.pixels.dtype == np.uint16
            assert read_provenance(path)
    assert made == kept


def test_style_can_be_weakened_enlarged_and_keep_its_colours(run_dir: Path, photos: Path, tmp_path: Path) -> None:
    words = [str(run_dir), str(photos / "b.png"), "--device", "cpu", "--to", "ink"]
    Image.effect_noise((300, 200), 80).convert("RGB").save(photos / "b.png")
    options = {"whole": [], "none": ["--strength", "0"], "half": ["--strength", "0.5"], "colour": ["--keep-colour"],
               "size": ["--scale", "60"], "train": ["--scale", "train"]}  # fmt: skip
    made = {}
    for name, words_more in options.items():
        assert main([*words, "-o", str(tmp_path / name), *words_more]) == 0
        made[name] = read_image(tmp_path / name / "b.png").astype(float)
        assert made[name].shape == (200, 300, 3)
    source = read_image(photos / "b.png")
    assert np.array_equal(made["none"], source)
    assert 0 < np.abs(made["half"] - source).mean() < np.abs(made["whole"] - source).mean()
    assert np.ptp(made["colour"], axis=2).max() <= 1, "grey as the source"
    assert np.ptp(made["whole"], axis=2).max() > 1
    assert len({picture.tobytes() for picture in made.values()}) == 6


def test_too_many_pixels_are_one_line_and_the_rest_go_on(
    run_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("1", (1100, 1000)).save(photos / "large.png")
    assert main([str(run_dir), str(photos), "-o", str(tmp_path / "out"), "--max-megapixels", "1"]) == 1
    printed = capsys.readouterr()
    assert "large.png: refused: 1100x1000 are more than 1 megapixels; --max-megapixels allows more" in printed.err
    assert "3 translated" in printed.out


@pytest.mark.parametrize(
    ("error", "told"),
    [(OSError(28, "No space left"), "cannot be written: No space left"), (MemoryError(), "more memory is needed")],
)
def test_an_output_that_cannot_be_written_is_one_line_and_the_rest_go_on(
    run_dir: Path, photos: Path, tmp_path: Path, error: Exception, told: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(path: Path, frames: object, *others: object) -> None:
        if path.name == "b.png":
            raise error
        written.append(path.name)

    written: list[str] = []
    monkeypatch.setattr("cyclestyle.translate.pipeline.write_frames", full)
    assert main([str(run_dir), str(photos), "-o", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert f"failed: {tmp_path / 'out' / 'b.png'}: {told}" in printed.err
    assert written == ["a.jpg", "c.webp"]
    assert "2 translated" in printed.out


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_picture_that_takes_too_much_memory_is_one_line_and_the_rest_go_on(
    run_dir: Path, photos: Path, tmp_path: Path, error: Exception,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def too_much(source: np.ndarray, made: np.ndarray, strength: float) -> np.ndarray:
        if source.shape[1] == 44:
            raise error
        return made

    monkeypatch.setattr("cyclestyle.translate.style.blend", too_much)
    animation = [Image.effect_noise((44, 30), 80).convert("RGB") for _ in range(2)]
    animation[0].save(photos / "b.png")
    animation[0].save(photos / "d.gif", save_all=True, append_images=animation[1:])
    assert main([str(run_dir), str(photos), "-o", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert sorted(printed.err.splitlines()) == [
        f"failed: {photos / name}: more memory is needed than there is; end other programs, or make it smaller"
        for name in ("b.png", "d.gif")
    ]
    assert sorted(p.name for p in find_images(tmp_path / "out")) == ["a.jpg", "c.webp"]


def test_awkward_files_are_translated_or_reported(
    run_dir: Path, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [p for p in find_images(real_data / "awkward") if not p.name.startswith("huge_")]
    assert main([str(run_dir), *map(str, sources), "-o", str(tmp_path), "--batch-size", "2"]) == 1
    err = capsys.readouterr().err
    for source in sources:
        try:
            shape = read_image(source).shape
        except ImageError:
            assert source.name in err
            continue
        target = tmp_path / source.name
        assert read_image(target).shape == shape, source
        with Source(source) as given, Source(target) as made:
            assert made.count == given.count, source
            assert made.about.milliseconds == pytest.approx(given.about.milliseconds, abs=10), source
            for one, other in zip(given.frames(), made.frames(), strict=True):
                assert (one.pixels.shape, one.pixels.dtype) == (other.pixels.shape, other.pixels.dtype), source
                assert (one.alpha is None) == (other.alpha is None), source


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["nowhere", "x.png", "-o", "out"], 1, "error: nowhere: no such model"),
        (["MODEL", "nowhere.png", "-o", "out"], 1, "error: nowhere.png: no such file or folder"),
        (["PHOTOS", "PHOTOS", "-o", "out"], 1, "holds no checkpoints/latest.safetensors"),
        (["MODEL", "PHOTOS", "-o", "PHOTOS"], 1, "is an input and would be overwritten"),
        (["MODEL", "PHOTOS", "-o", "out", "--format", "pgn"], 2, "did you mean 'png'?"),
        (["MODEL", "PHOTOS"], 2, "arguments are required: -o/--out (python -m cyclestyle.translate --help"),
        (["MODEL", "PHOTOS", "-o", "out", "--quality", "101"], 2, "error: --quality must be 1 to 100, not 101"),
        (["MODEL", "PHOTOS", "-o", "out", "--to", "oil"], 2, "has no domain 'oil'; accepted: ink, photo (python -m"),
        (["MODEL", "PHOTOS", "-o", "out", "--tile", "12"], 2, "error: --tile: 12 is not a choice"),
        (["MODEL", "PHOTOS", "-o", "out", "--scale", "20"], 2, "error: --scale: 20 is not a choice"),
        (["MODEL", "PHOTOS", "-o", "out", "--strength", "2"], 2, "error: --strength: must be between 0 and 1, not 2"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    run_dir: Path, photos: Path, tmp_path: Path, words: list[str], status: int, expected: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    names = {"MODEL": str(run_dir), "PHOTOS": str(photos)}
    with pytest.raises(SystemExit) as stopped:
        sys.exit(main([names.get(word, word) for word in words]))
    assert stopped.value.code == status
    err = capsys.readouterr().err
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_options_for_clips_alone_are_noted_where_there_are_none(
    run_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(run_dir), str(photos / "b.png"), "-o", str(tmp_path), "--device", "cpu"]
    assert main([*words, "--format", "mp4", "--start", "1", "--smooth", "0.5"]) == 0
    assert capsys.readouterr().err == (
        "note: --start, --smooth, --format mp4: without effect, as there are no clips to translate\n"
    )
    assert main([*words, "--format", "jpg"]) == 0
    assert capsys.readouterr().err == ""


def test_an_output_folder_that_cannot_be_made_is_one_line(
    run_dir: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file, not a folder")
    assert main([str(run_dir), str(photos), "-o", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert err == f"error: {tmp_path / 'out'}: is not a folder; choose another one with -o\n"
    assert (tmp_path / "out").read_text() == "a file, not a folder"


def test_the_console_command_and_the_module_are_the_same(run_dir: Path, photos: Path, tmp_path: Path) -> None:
    words = [str(run_dir), str(photos / "b.png"), "-o"]
    for i, start in enumerate((["-m", "cyclestyle.translate"], ["-m", "cyclestyle", "translate"])):
        subprocess.run([sys.executable, *start, *words, str(tmp_path / str(i))], check=True, capture_output=True)
    assert np.array_equal(read_image(tmp_path / "0" / "b.png"), read_image(tmp_path / "1" / "b.png"))
