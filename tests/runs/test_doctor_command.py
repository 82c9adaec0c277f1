"""The doctor: what it finds in a set, what it prints and returns, and the cleaned copy it writes."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from cyclestyle.data.doctor import main
from cyclestyle.images import find_images, read_image

SMALL = ["--load-size", "40", "--crop-size", "32", "--min-size", "16"]


@pytest.fixture
def root(drawn: Path, tmp_path: Path) -> Path:
    """A copy of the drawn set: 8 and 8 for training, 3 and 3 for the test, PNG of 48 pixels."""
    return Path(shutil.copytree(drawn, tmp_path / "set"))


def examined(root: Path, *words: str) -> tuple[int, dict[str, list[str]], dict[str, str]]:
    """The exit status, and the files and the level of each kind of finding."""
    out = root.parent / "findings.json"
    status = main([str(root), *SMALL, "--json", str(out), *words])
    files: dict[str, list[str]] = {}
    levels = {}
    for finding in json.loads(out.read_text())["findings"]:
        levels[finding["kind"]] = finding["level"]
        files.setdefault(finding["kind"], []).extend(name for item in finding["items"] for name in item["files"])
    return status, files, levels


def contents(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def picture(path: Path) -> Image.Image:
    return Image.fromarray(read_image(path))


def test_a_good_set_has_only_its_size_against_it_and_is_left_as_it_is(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(root)
    status, files, levels = examined(root)
    assert status == 0
    assert set(files) == {"few"}
    assert levels["few"] == "should"
    printed = capsys.readouterr().out
    assert "trainA 8   trainB 8   testA 3   testB 3" in printed
    assert "FEW: 8 pictures in trainA\n   -> find more" in printed
    assert "Findings: 2 worth fixing." in printed
    assert "--fix NEW_FOLDER" not in printed  # it would mend nothing
    assert contents(root) == before


def truncated(root: Path) -> None:
    whole = (root / "trainA" / "0000.png").read_bytes()
    (root / "trainA" / "x.png").write_bytes(whole[: len(whole) // 2])


def leaked(root: Path) -> None:
    ImageOps.mirror(picture(root / "testB" / "0001.png")).save(root / "trainB" / "x.jpg")


def leaked_to_val(root: Path) -> None:
    for domain in "AB":
        (root / f"val{domain}").mkdir()
    shutil.copy(root / "testA" / "0000.png", root / "valA" / "x.png")
    shutil.copy(root / "trainB" / "0000.png", root / "valB" / "x.png")
    (root / "trainB" / "0000.png").unlink()


def in_both_domains(root: Path) -> None:
    shutil.copy(root / "trainA" / "0002.png", root / "trainB" / "x.png")


def twice(root: Path) -> None:
    image = picture(root / "trainB" / "0003.png")
    (root / "trainB" / "deep").mkdir()
    image.resize((96, 96), Image.Resampling.BICUBIC).save(root / "trainB" / "deep" / "x.png")


def resized(name: str, size: tuple[int, int]) -> Callable[[Path], None]:
    """Takes a picture's place by one of noise, which resembles none."""

    def change(root: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
        Image.fromarray(noise).save(root / name)

    return change


def grey_twin(root: Path) -> None:
    picture(root / "trainB" / "0003.png").convert("L").save(root / "trainB" / "0000a.png")


def far_smaller(root: Path) -> None:
    for path in find_images(root / "trainA") + find_images(root / "testA"):
        picture(path).resize((200, 200), Image.Resampling.BICUBIC).save(path)
    resized("trainA/x.png", (40, 44))(root)


def blank(root: Path) -> None:
    Image.new("RGB", (48, 48), "ivory").save(root / "trainA" / "blank.png")


def grey(root: Path) -> None:
    picture(root / "trainB" / "0004.png").convert("L").save(root / "trainB" / "0004.png")


def compressed(root: Path) -> None:
    for name in ("0004", "0005"):
        picture(root / "trainB" / f"{name}.png").save(root / "trainB" / f"{name}.jpg", quality=30)
        (root / "trainB" / f"{name}.png").unlink()


def blurred(root: Path) -> None:
    for path in find_images(root / "trainB"):
        picture(path).resize((30, 30)).save(path)


def dark(root: Path) -> None:
    for path in find_images(root / "trainB"):
        picture(path).point(lambda value: value // 3).save(path)


def colourful(root: Path) -> None:
    for path in find_images(root / "trainA"):
        read = read_image(path).astype(int)
        Image.fromarray((read * (1.0, 0.7, 0.3)).astype(np.uint8)).save(path)


def smooth(root: Path) -> None:
    for path in find_images(root / "trainB"):
        picture(path).resize((6, 6)).resize((48, 48), Image.Resampling.BICUBIC).save(path)


def few_of_one(root: Path) -> None:
    for path in find_images(root / "trainB")[2:]:
        path.unlink()


def without(*names: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for name in names:
            shutil.rmtree(root / name)

    return change


@pytest.mark.parametrize(
    ("change", "kind", "level", "named"),
    [
        (truncated, "unreadable", "must", ["trainA/x.png"]),
        (leaked, "leak", "must", ["trainB/x.jpg", "testB/0001.png"]),
        (leaked_to_val, "leak", "must", ["testA/0000.png", "valA/x.png"]),
        (in_both_domains, "across", "must", ["trainA/0002.png", "trainB/x.png"]),
        (resized("trainA/x.png", (60, 12)), "tiny", "must", ["trainA/x.png"]),
        (without("trainB"), "no-pictures", "must", []),
        (twice, "duplicate", "should", ["trainB/0003.png", "trainB/deep/x.png"]),
        (grey_twin, "duplicate", "should", ["trainB/0000a.png", "trainB/0003.png"]),
        (resized("trainA/x.png", (40, 24)), "small", "should", ["trainA/x.png"]),
        (blank, "flat", "should", ["trainA/blank.png"]),
        (resized("trainA/x.png", (110, 48)), "long", "should", ["trainA/x.png"]),
        (grey, "grey", "should", ["trainB/0004.png"]),
        (compressed, "compressed", "should", ["trainB/0004.jpg", "trainB/0005.jpg"]),
        (blurred, "resolution", "should", []),
        (without("testA", "testB"), "no-test", "should", []),
        (without("testB"), "no-test", "should", []),
        (resized("trainA/x.png", (100, 100)), "large", "note", ["trainA/x.png"]),
        (far_smaller, "odd-size", "note", ["trainA/x.png"]),
        (dark, "brightness", "note", []),
        (colourful, "colour", "note", []),
        (smooth, "detail", "note", []),
        (few_of_one, "numbers", "note", []),
    ],
    ids=lambda value: getattr(value, "__name__", None) if callable(value) else None,
)  # fmt: skip
def test_a_fault_is_found_and_its_files_are_named(
    root: Path, change: Callable[[Path], None], kind: str, level: str, named: list[str]
) -> None:
    change(root)
    status, files, levels = examined(root)
    assert levels[kind] == level
    assert files[kind] == named
    assert status == (1 if level == "must" else 0)


def test_the_gravest_comes_first_and_long_lists_are_cut_short(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leaked(root)
    grey(root)
    for number in range(12):
        (root / "trainA" / f"bad{number:02}.png").write_bytes(b"no picture")
    assert main([str(root), *SMALL]) == 1
    printed = capsys.readouterr().out
    places = [
        printed.index(text) for text in ("MUST BE FIXED", "UNREADABLE: 12 files", "LEAK: 1 picture of testB is in")
    ]
    assert places == sorted(places) < [printed.index("WORTH FIXING")]
    assert "bad09" in printed
    assert "bad10" not in printed
    assert "and 2 more (--all lists them)" in printed
    assert f"A cleaned copy: python -m cyclestyle.data.doctor {root} --fix NEW_FOLDER" in printed
    main([str(root), *SMALL, "--all"])
    assert "bad11" in capsys.readouterr().out


def test_pairs_across_the_domains_that_are_meant_do_not_count_as_faults(root: Path) -> None:
    for path in find_images(root / "trainB"):
        picture(path).convert("L").save(root / "trainA" / f"grey{path.name}")
    status, files, levels = examined(root)
    assert status == 0
    assert levels["paired"] == "note"
    assert len(files["paired"]) == 16
    assert "across" not in files


def test_in_a_paired_set_a_test_picture_whose_partner_is_trained_on_is_a_leak(root: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        for path in find_images(root / f"{name}B"):
            picture(path).convert("L").save(root / f"{name}A" / f"grey{path.name}")
    name = "grey_of_test.png"
    picture(root / "testB" / "0001.png").convert("L").save(root / "trainA" / name)
    status, files, levels = examined(root)
    assert (status, levels["leak"], levels["paired"]) == (1, "must", "note")
    assert {f"trainA/{name}", "testB/0001.png"} <= set(files["leak"])
    assert main([str(root), *SMALL, "--fix", str(tmp_path / "clean")]) == 0
    assert not (tmp_path / "clean" / "trainA" / name).exists()
    assert main([str(tmp_path / "clean"), *SMALL]) == 0


def test_a_picture_in_both_test_folders_is_in_neither_of_a_cleaned_copy(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "testA" / "0001.png", root / "testB" / "x.png")
    assert examined(root)[0] == 1
    assert main([str(root), *SMALL, "--fix", str(tmp_path / "clean")]) == 0
    assert not (tmp_path / "clean" / "testA" / "0001.png").exists()
    assert not (tmp_path / "clean" / "testB" / "x.png").exists()
    assert main([str(tmp_path / "clean"), *SMALL]) == 0


@pytest.mark.parametrize("exif", [b"Exif\0\0II", b"Exif\0\0no exif", b"?"])
def test_a_picture_with_damaged_exif_is_examined_as_it_is_trained_on(root: Path, exif: bytes) -> None:
    picture(root / "trainA" / "0001.png").save(root / "trainA" / "0001.png", exif=exif)
    assert examined(root)[0] == 0


def test_names_that_are_not_text_are_printed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "trainA" / "b\udce9d.png").write_bytes(b"no picture")
    assert main([str(root), *SMALL]) == 1
    assert "trainA/b\ufffdd.png" in capsys.readouterr().out


def test_a_cleaned_copy_lacks_what_is_bad_and_the_source_keeps_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for change in (truncated, leaked, twice, blank, resized("trainB/small.png", (40, 24))):
        change(root)
    shutil.copy(root / "trainB" / "0005.png", root / "trainB" / "again.png")
    shutil.copy(root / "trainA" / "0006.png", root / "trainB" / "ink.png")
    before = contents(root)
    out = tmp_path / "new" / "clean"
    assert main([str(root), *SMALL, "--fix", str(out)]) == 0
    printed = capsys.readouterr().out
    assert contents(root) == before
    reasons = {
        "unreadable": ["trainA/x.png"],
        "nearly blank": ["trainA/blank.png"],
        "smaller than 32 pixels": ["trainB/small.png"],
        "in both domains": ["trainA/0006.png", "trainB/ink.png"],
        "with a copy in its folder": ["trainB/0003.png", "trainB/again.png"],
        "with a copy in test or val": ["trainB/x.jpg"],
    }
    gone = {Path(name) for names in reasons.values() for name in names}
    assert set(contents(out)) == set(before) - gone
    assert all(read_image(path).shape == (40, 40, 3) for path in find_images(out))
    assert f"Written into {out}: {len(before) - 8} pictures\nLeft out: 8\n" in printed
    assert all(f"  {len(names)} {reason}: {', '.join(names)}\n" in printed for reason, names in reasons.items())
    assert f"data.root={out}" in printed
    assert "Left to you: FEW: 7 pictures in trainA; FEW: 8 pictures in trainB\n" in printed
    status, files, _ = examined(out)
    assert status == 0
    assert set(files) == {"few"}
    assert not list(out.parent.glob("*partial*"))


def test_what_needs_no_change_is_copied_and_the_rest_is_written_once(root: Path, tmp_path: Path) -> None:
    folder, rng = root / "trainA", np.random.default_rng(1)

    def noise(width: int, height: int) -> Image.Image:
        return Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8))

    noise(40, 50).save(folder / "ready.jpg", quality=70)
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(40, 70).save(folder / "turned.jpg", exif=exif, quality=95)
    noise(40, 90).save(folder / "scroll.png")
    noise(50, 40).save(folder / "scroll_1.gif")
    noise(50, 40).save(folder / "same.gif")
    noise(50, 40).save(folder / "same.png")
    out = tmp_path / "out"
    assert main([str(root), *SMALL, "--fix", str(out)]) == 0
    made = {path.name: read_image(path) for path in find_images(out / "trainA") if not path.stem.isdigit()}
    assert set(made) == {
        "ready.jpg", "turned.jpg", "scroll_1.png", "scroll_2.png", "scroll_1-2.png", "same.png", "same-2.png",
    }  # fmt: skip
    assert (out / "trainA" / "ready.jpg").read_bytes() == (folder / "ready.jpg").read_bytes()
    assert made["turned.jpg"].shape == (40, 70, 3)
    assert np.abs(made["turned.jpg"] - read_image(folder / "turned.jpg").astype(int)).mean() < 12
    whole = np.concatenate([made["scroll_1.png"], made["scroll_2.png"]])
    for name, pixels in (
        ("scroll.png", whole),
        ("scroll_1.gif", made["scroll_1-2.png"]),
        ("same.gif", made["same.png"]),
    ):
        assert np.array_equal(pixels, read_image(folder / name))


def test_a_fix_that_ends_early_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, picture: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def interrupted(path: Path, picture: np.ndarray) -> None:
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    for stop, status, told in (
        (full, 1, "error: OUT: the disk is full; free some space"),
        (interrupted, 130, "interrupted"),
    ):
        monkeypatch.setattr("cyclestyle.data.cleaned.write_image", stop)
        assert main([str(root), *SMALL, "--fix", str(tmp_path / "out")]) == status
        err = capsys.readouterr().err
        assert told.replace("OUT", str(tmp_path / "out")) in err
        assert "Traceback" not in err
        assert sorted(tmp_path.iterdir()) == before


def test_an_empty_folder_is_filled(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert main([str(root), *SMALL, "--fix", str(tmp_path / "out")]) == 0
    assert len(find_images(tmp_path / "out")) == 22


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere"], "error: nowhere: there is no such folder; name the one that holds trainA and trainB"),
        (["."], "error: .: holds neither trainA nor trainB (its folders: set); make them from two folders: python"),
        (["set", "--fix", "set/clean"], "error: set/clean: lies inside set; choose a folder outside"),
        (["set", "--fix", "set"], "error: set: exists already and is not empty"),
        (["set", "--fix", "mine.json"], "error: mine.json: is a file; choose another name for the folder"),
        (["set", "--json", "mine.json"], "error: mine.json: exists already; choose another file"),
        (["set", "--json", "no/x.json"], "error: no/x.json: there is no folder no"),
        (["set", "--fix", "out"], "8 of 8 pictures are smaller than --crop-size 256"),
        (["set", "--crop-size", "300"], "--crop-size 300 is larger than --load-size 286; lower it"),
        (["set", "--load-size", "0"], "--load-size must be at least 1, not 0"),
        (["set", "--fixx", "out"], "unknown option --fixx; did you mean '--fix'?"),
        ([], "the following arguments are required: ROOT"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    root: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    Path("mine.json").write_text("mine")
    before = contents(root.parent)
    try:
        status = main(words)
    except SystemExit as error:
        status = 2 if error.code == 2 else 0
    assert status in (1, 2)
    err = capsys.readouterr().err.strip()
    assert expected in err.splitlines()[-1]
    assert status == 2 or len(err.splitlines()) == 1
    assert contents(root.parent) == before


def test_real_awkward_files_are_examined_and_cleaned(real_data: Path, root: Path, tmp_path: Path) -> None:
    shutil.copytree(real_data / "awkward", root / "trainB" / "awkward", ignore=shutil.ignore_patterns("huge_*"))
    status, files, _ = examined(root, "--fix", str(tmp_path / "out"))
    assert status == 0
    bad = {"broken.png", "decompression_bomb.gif", "made_text_named.jpg", "made_truncated_60pct.jpg",
           "made_zero_bytes.jpg", "truncated_jpeg.jpg"}  # fmt: skip
    assert {Path(name).name for name in files["unreadable"]} == bad
    kept = [path for path in find_images(tmp_path / "out" / "trainB") if "awkward" in path.parts]
    assert len(kept) > 8
    assert all(32 <= min(read_image(path).shape[:2]) <= 40 for path in kept)
