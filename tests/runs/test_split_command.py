"""The split: what is held out, that it depends on seed and names alone, and that copies stay together."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from cyclestyle.data.split import divide, main, wanted_count
from cyclestyle.errors import UserError
from cyclestyle.images import find_images, read_image


@pytest.fixture
def sources(drawn: Path, tmp_path: Path) -> tuple[str, str]:
    """Two folders of 8 pictures, half of them in a subfolder."""
    for name, source in (("ink", "trainA"), ("photo", "trainB")):
        shutil.copytree(drawn / source, tmp_path / name)
        (tmp_path / name / "deep").mkdir()
        for number in range(4):
            (tmp_path / name / f"{number:04}.png").rename(tmp_path / name / "deep" / f"{number:04}.png")
    return str(tmp_path / "ink"), str(tmp_path / "photo")


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_all_pictures_go_to_one_split_each_with_their_names_and_the_sources_stay(
    sources: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(tmp_path)
    out = tmp_path / "set"
    assert main([*sources, "-o", str(out), "--test", "2", "--val", "13%"]) == 0
    assert {name: data for name, data in contents(tmp_path).items() if not name.startswith("set/")} == before
    for source, domain in zip(sources, "AB", strict=True):
        made = {split: contents(out / f"{split}{domain}") for split in ("train", "test", "val")}
        assert {split: len(files) for split, files in made.items()} == {"train": 5, "test": 2, "val": 1}
        assert made["train"] | made["test"] | made["val"] == contents(Path(source))
    printed = capsys.readouterr().out
    assert f"5 in trainA, 2 in testA, 1 in valA from {sources[0]}; 0 groups of copies kept together" in printed
    assert f"python -m cyclestyle.data.doctor {out}" in printed


def test_a_seed_gives_the_same_split_and_another_seed_another(sources: tuple[str, str], tmp_path: Path) -> None:
    for out, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main([*sources, "-o", str(tmp_path / out), "--test", "3", "--seed", seed]) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")


def test_a_picture_more_moves_one_other_at_most() -> None:
    names = [f"{number}.jpg" for number in range(200)]
    alone = [[number] for number in range(201)]
    before = divide(names, alone[:200], {"test": 20, "val": 10}, seed=0)
    for extra in range(20):
        after = divide([*names, f"new{extra}.jpg"], alone, {"test": 20, "val": 10}, seed=0)
        assert sum(before[number] == "test" != after[number] for number in range(200)) <= 1
        assert sum(before[number] != after[number] for number in range(200)) <= 2


def test_copies_stay_together(sources: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = Path(sources[1])
    for path in find_images(photo):
        ImageOps.mirror(Image.fromarray(read_image(path))).save(photo / f"mirrored_{path.stem}.jpg", quality=90)
    for seed in range(3):
        out = tmp_path / f"out{seed}"
        assert main([*sources, "-o", str(out), "--test", "3", "--val", "2", "--seed", str(seed)]) == 0
        assert "8 groups of copies kept together" in capsys.readouterr().out
        found = {split: {p.stem.removeprefix("mirrored_") for p in find_images(out / f"{split}B")}
                 for split in ("train", "test", "val")}  # fmt: skip
        assert [len(found[split]) for split in ("train", "test", "val")] == [6, 1, 1]


def test_copies_are_drawn_as_often_as_single_pictures() -> None:
    names = [f"{number:04d}" for number in range(3000)]
    groups = [[number, number + 1] for number in range(0, 1000, 2)] + [[number] for number in range(1000, 3000)]
    chosen = divide(names, groups, {"test": 300}, seed=0)
    share = sum(chosen[number] == "test" for number in range(1000)) / 1000
    assert 0.07 < share < 0.13


def test_a_group_larger_than_what_is_lacking_goes_where_there_is_room() -> None:
    chosen = divide([str(i) for i in range(9)], [[0, 1, 2, 3], [4, 5, 6], [7], [8]], {"test": 3, "val": 1}, seed=0)
    assert {chosen[number] for number in range(4)} == {"train"}
    splits = list(chosen.values())
    assert splits.count("test") <= 3
    assert splits.count("val") <= 1
    assert all(len({chosen[number] for number in group}) == 1 for group in ([0, 1, 2, 3], [4, 5, 6]))


def test_one_folder_with_training_pictures_alone_will_do(drawn: Path, tmp_path: Path) -> None:
    for name in ("trainA", "trainB"):
        shutil.copytree(drawn / name, tmp_path / "root" / name)
    assert main([str(tmp_path / "root"), "-o", str(tmp_path / "set")]) == 0
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == ["testA", "testB", "trainA", "trainB"]
    assert len(find_images(tmp_path / "set" / "testA")) == 1
    assert len(find_images(tmp_path / "root")) == 16


def test_links_take_no_space_and_survive_without_hard_links(
    sources: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    for out in ("hard", "symbolic"):
        assert main([*sources, "-o", str(tmp_path / out), "--link"]) == 0
        made = find_images(tmp_path / out)
        assert len(made) == 16
        assert all(path.samefile(Path(sources["AB".index(path.relative_to(tmp_path / out).parts[0][-1])],
                                      *path.relative_to(tmp_path / out).parts[1:])) for path in made)  # fmt: skip
        assert all(path.is_symlink() == (out == "symbolic") for path in made)
        monkeypatch.setattr(os, "link", refuse)


def test_files_that_cannot_be_read_are_left_out_and_named(
    sources: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ink" / "bad.jpg").write_bytes(b"no picture")
    assert main([*sources, "-o", str(tmp_path / "set")]) == 0
    printed = capsys.readouterr().out
    assert "left out, as they cannot be read: 1\n" in printed
    assert f"{tmp_path / 'ink' / 'bad.jpg'}: not a picture" in printed
    assert not (list((tmp_path / "set").rglob("bad.jpg")))


def test_a_split_that_ends_early_leaves_nothing(
    sources: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "copyfile", full)
    assert main([*sources, "-o", str(tmp_path / "set")]) == 1
    assert f"error: {tmp_path / 'set'}: the disk is full" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "expected"), [("50", 50), ("0", 0), ("10%", 20), ("0.1%", 1), ("0%", 0), ("100%", 200), ("12.5%", 25)]
)
def test_counts_and_shares(text: str, expected: int) -> None:
    assert wanted_count("--test", text, 200) == expected


@pytest.mark.parametrize("text", ["many", "-1", "nan%", "inf%", "1.5", "101%", "%", ""])
def test_what_is_no_count_is_refused_by_name(text: str) -> None:
    with pytest.raises(UserError, match="--test"):
        wanted_count("--test", text, 200)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere", "photo", "-o", "out"], "error: nowhere: there is no such folder"),
        (["ink", "-o", "out"], "error: ink: has no trainA; name two folders, that of A and that of B"),
        (["done", "-o", "out"], "error: done: has testB already; to split training off anew, name done/trainA"),
        (["ink", "photo", "ink", "-o", "out"], "error: ink: a third source"),
        (["ink", "ink/deep", "-o", "out"], "error: ink and ink/deep: must be two folders, neither inside the other"),
        (["ink", "empty", "-o", "out"], "error: empty: holds no pictures"),
        (["ink", "photo", "-o", "photo/out"], "error: photo/out: lies inside photo"),
        (["ink", "photo", "-o", "done"], "error: done: exists already and is not empty"),
        (
            ["ink", "photo", "-o", "out", "--test", "7"],
            "error: ink: 7 for test and 0 for val of 8 pictures leave fewer",
        ),
        (["ink", "photo", "-o", "out", "--val", "95%"], "ask for at most 6 of both together with"),
        (["ink", "photo", "-o", "out", "--test", "120%"], "error: --test 120%: is over 100 %"),
        (["ink", "twins", "-o", "out"], "would get one name; rename one of them"),
        (["ink", "photo"], "the following arguments are required: -o/--out"),
        (["ink", "photo", "-o", "out", "--tset", "5"], "unknown option --tset; did you mean '--test'?"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    sources: tuple[str, str], tmp_path: Path, words: list[str], expected: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "done/trainA", "done/trainB", "done/testB", "twins"):
        Path(folder).mkdir(parents=True)
    for name in ("a.png", "A.png"):
        shutil.copy("ink/0007.png", f"twins/{name}")
    if len(list(Path("twins").iterdir())) < 2 and "twins" in words:
        pytest.skip("this file system does not tell A from a")
    before = contents(tmp_path)
    try:
        status = main(words)
    except SystemExit as error:
        status = int(error.code or 0)
    assert status in (1, 2)
    err = capsys.readouterr().err.strip()
    assert expected in err.splitlines()[-1]
    assert status == 2 or len(err.splitlines()) == 1
    assert contents(tmp_path) == before
    assert not Path("out").exists()
