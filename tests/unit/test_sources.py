"""Which files are translated, and where their translations go."""

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from cyclestyle.errors import UserError
from cyclestyle.images import ImageError
from cyclestyle.translate.reading import Source
from cyclestyle.translate.sources import find_jobs, make_folders
from tests.picture_files import ORIGIN


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("album/one.jpg", "album/deep/two.PNG", "album/deep/three.bmp", "album/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "album"


def test_out_may_hold_the_input_folder(album: Path) -> None:
    assert targets([str(album / "deep")], album) == ["three.png", "two.PNG"]
    assert targets([str(album)], album.parent) == ["deep/three.png", "deep/two.PNG", "one.jpg"]


def test_an_input_is_safe_under_any_name(album: Path) -> None:
    (album.parent / "alias").symlink_to(album)
    with pytest.raises(UserError, match="is an input and would be overwritten"):
        find_jobs([str(album)], album.parent / "alias", existing="overwrite")


def test_another_format_and_an_ending_can_be_asked_for(album: Path) -> None:
    out = album.parent / "out"
    jobs = find_jobs([str(album)], out, kind="webp", ending="_ink")
    names = [job.target.relative_to(out).as_posix() for job in jobs]
    assert names == ["deep/three_ink.webp", "deep/two_ink.webp", "one_ink.webp"]


def targets(inputs: list[str], out: Path, **options: Any) -> list[str]:
    return [job.target.relative_to(out).as_posix() for job in find_jobs(inputs, out, **options)]


def test_names_are_kept_relative_to_what_was_given(album: Path) -> None:
    out = album.parent / "out"
    assert targets([str(album)], out) == ["deep/three.png", "deep/two.PNG", "one.jpg"]
    assert targets([str(album / "deep" / "two.PNG")], out) == ["two.PNG"]
    assert targets([f"{album}/*/t*"], out) == ["deep/three.png", "deep/two.PNG"]
    assert targets([f"{album}/**/*.PNG"], out) == ["deep/two.PNG"]


def test_one_file_can_go_to_one_file(album: Path) -> None:
    [job] = find_jobs([str(album / "one.jpg")], album.parent / "result.webp")
    assert job.target.name == "result.webp"


def test_a_name_of_ones_own_and_rules_for_names_exclude_each_other(album: Path) -> None:
    for options in ({"kind": "png"}, {"ending": "_ink"}):
        with pytest.raises(UserError, match=r"result.webp: names a file, so --format and --suffix"):
            find_jobs([str(album / "one.jpg")], album.parent / "result.webp", **options)


def test_an_interrupted_job_goes_on_with_what_is_not_there(album: Path) -> None:
    out = album.parent / "out"
    out.mkdir()
    (out / "one.jpg").write_bytes(b"earlier")
    assert targets([str(album)], out, existing="skip") == ["deep/three.png", "deep/two.PNG"]
    with pytest.raises(UserError, match="is an input"):
        find_jobs([str(album)], album, existing="skip")


@pytest.mark.parametrize(
    ("options", "made"),
    [
        ({"ending": "_ink"}, ["deep/three_ink.png", "one_ink.jpg"]),
        ({"ending": "_i", "back": True}, ["deep/three_i.png", "deep/three_i_back.png", "one_i.jpg", "one_i_back.jpg"]),
        ({"kind": "webp"}, ["deep/three.webp", "one.webp"]),
    ],
)
@pytest.mark.parametrize("shard", [(1, 1), (2, 3)])
def test_an_interrupted_job_in_the_folder_of_its_inputs_goes_on(
    album: Path, options: dict[str, Any], made: list[str], shard: tuple[int, int]
) -> None:
    whole = targets([str(album)], album, shard=shard, **options)
    for name in made:
        (album / name).write_bytes(b"earlier" + ORIGIN.packet())
    left = [name for name in whole if name not in made]
    assert targets([str(album)], album, existing="skip", shard=shard, **options) == left
    assert targets([str(album)], album, existing="overwrite", shard=shard, **options) == whole


def test_an_original_that_has_the_name_of_a_translation_is_not_taken_for_one(album: Path) -> None:
    inputs = [str(album / name) for name in ("lake.bmp", "lake.png")]
    for path in inputs:
        Path(path).write_bytes(b"an original")
    for existing in ("refuse", "skip", "overwrite"):
        with pytest.raises(UserError, match=r"lake\.png: is an input|would both become"):
            find_jobs(inputs, album, existing=existing)


def test_a_file_that_is_asked_for_by_name_is_an_input_wherever_it_is_from(album: Path) -> None:
    (album / "one_ink.jpg").write_bytes(b"made of another" + ORIGIN.packet())
    inputs = [str(album / "one.jpg"), str(album / "one_ink.jpg")]
    with pytest.raises(UserError, match=r"one_ink\.jpg: is an input and would be overwritten"):
        find_jobs(inputs, album, existing="overwrite", ending="_ink")


def test_a_shard_that_begins_late_does_not_take_translations_of_others_for_inputs(album: Path) -> None:
    whole = targets([str(album)], album, ending="_ink")
    (album / whole[0]).write_bytes(b"made by the first" + ORIGIN.packet())
    assert targets([str(album)], album, ending="_ink", shard=(2, 3)) == [whole[1]]


def test_an_output_that_is_a_link_in_a_circle_is_told(album: Path) -> None:
    loop = album.parent / "loop"
    loop.symlink_to(loop)
    jobs = find_jobs([str(album)], loop)
    with pytest.raises(UserError, match=r"loop.*choose another folder with -o"):
        make_folders(jobs)


def test_shards_make_up_the_whole_whatever_is_there_when_each_begins(album: Path) -> None:
    out = album.parent / "out"
    (out / "deep").mkdir(parents=True)
    first = targets([str(album)], out, existing="skip", shard=(1, 2))
    (out / first[0]).write_bytes(b"made by the first")
    assert first == ["deep/three.png", "one.jpg"]
    assert targets([str(album)], out, existing="skip", shard=(1, 2)) == ["one.jpg"]
    assert targets([str(album)], out, existing="skip", shard=(2, 2)) == ["deep/two.PNG"]


def test_earlier_translations_inside_the_input_folder_are_not_inputs(album: Path) -> None:
    assert len(find_jobs([str(album)], album / "deep")) == 1


def test_the_input_folder_itself_can_be_the_output_if_no_name_is_taken(album: Path) -> None:
    (album / "one.jpg").rename(album / "one.bmp")
    (album / "deep" / "two.PNG").unlink()
    assert targets([str(album)], album) == ["deep/three.png", "one.png"]


def test_files_that_would_be_lost_are_refused(album: Path) -> None:
    out = album.parent / "out"
    with pytest.raises(UserError, match=r"one\.jpg: is an input and would be overwritten"):
        find_jobs([str(album / "one.jpg")], album, existing="overwrite")
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "two.PNG").write_bytes(b"earlier")
    with pytest.raises(UserError, match=r"two\.PNG: exists already \(1 of 3"):
        find_jobs([str(album)], out)
    assert len(find_jobs([str(album)], out, existing="overwrite")) == 3
    (album / "two.PNG").write_bytes(b"x")
    with pytest.raises(UserError, match=r"two\.PNG and .*two\.PNG would both become"):
        find_jobs([str(album / "two.PNG"), str(album / "deep")], album.parent / "other")


def test_two_that_would_get_one_name_keep_their_suffixes_in_it(album: Path) -> None:
    for name in ("one.png", "one.bmp"):
        (album / name).write_bytes(b"an original")
    others = ["deep/three.png", "deep/two.PNG"]
    assert targets([str(album)], album / "out") == [*others, "one.bmp.png", "one.jpg", "one.png"]
    options: dict[str, Any] = {"kind": "png", "ending": "_ink", "back": True}
    jobs = find_jobs([str(album)], album, **options)
    names = [path.name for job in jobs for path in job.files if path.parent == album]
    assert names == [f"one_ink{old}{back}.png" for old in (".bmp", ".jpg", "") for back in ("", "_back")]
    for name in names:  # they lie among the inputs, and are not taken for some
        (album / name).write_bytes(b"earlier" + ORIGIN.packet())
    left = ["deep/three_ink.png", "deep/two_ink.png"]
    assert targets([str(album)], album, existing="skip", **options) == left
    assert len(targets([str(album)], album, existing="overwrite", **options)) == 5


@pytest.mark.parametrize(("platform", "refused"), [("linux", False), ("darwin", True), ("win32", True)])
def test_names_that_differ_in_case_are_one_where_file_systems_do_not_tell_them(
    album: Path, monkeypatch: pytest.MonkeyPatch, platform: str, refused: bool
) -> None:
    (album / "deep" / "ONE.jpg").write_bytes(b"x")
    inputs = [str(album / "one.jpg"), str(album / "deep" / "ONE.jpg")]
    monkeypatch.setattr("sys.platform", platform)
    with pytest.raises(UserError, match="would both become") if refused else contextlib.nullcontext():
        assert targets(inputs, album / "out") == ["one.jpg", "ONE.jpg"]


def test_an_input_through_a_link_is_not_overwritten_either(album: Path) -> None:
    out = album.parent / "out"
    out.mkdir()
    (out / "one.jpg").symlink_to(album / "one.jpg")
    with pytest.raises(UserError, match="is an input and would be overwritten"):
        find_jobs([str(album / "one.jpg")], out, existing="overwrite")


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("nowhere", "no such file or folder"),
        ("", "an input is empty"),
        ("*.xyz", "no file matches"),
        ("empty", "holds no pictures"),
    ],
)
def test_inputs_that_do_not_exist_are_named(
    tmp_path: Path, inputs: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=expected):
        find_jobs([inputs], tmp_path / "out")


def test_a_link_that_leads_nowhere_fails_alone(album: Path) -> None:
    for name in ("circle.jpg", "nowhere.jpg"):
        (album / name).symlink_to(name if name == "circle.jpg" else "missing")
    expected = ["circle.jpg", "deep/three.png", "deep/two.PNG", "nowhere.jpg", "one.jpg"]
    for out in (album / "out", album.parent / "out"):
        assert targets([str(album)], out) == expected
        assert targets([f"{album}/**/*.[jPb]*"], out) == expected
        assert sorted(targets([str(path) for path in album.glob("*.jpg")], out)) == [
            "circle.jpg",
            "nowhere.jpg",
            "one.jpg",
        ]


def test_a_folder_that_may_not_be_read_or_looks_like_a_picture_fails_alone(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (album / "x.jpg").mkdir()
    assert targets([str(album / "x.jpg"), str(album / "one.jpg")], album.parent / "out") == ["x.jpg", "one.jpg"]
    with pytest.raises(ImageError, match=r"x\.jpg: a folder without pictures"):
        Source(album / "x.jpg")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name in ("deep", "closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert targets([str(album)], album.parent / "out") == ["one.jpg", "deep.png"]
    (album.parent / "closed").mkdir()
    with pytest.raises(UserError, match="closed: this folder may not be read"):
        find_jobs([str(album.parent / "closed")], album.parent / "out")


def test_a_file_that_is_named_twice_is_translated_once(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    assert targets(["one.jpg", str(album / "one.jpg"), str(album)], album.parent / "out") == [
        "one.jpg",
        "deep/three.png",
        "deep/two.PNG",
    ]


def test_names_that_file_systems_tell_apart_are_no_clash(album: Path) -> None:
    for name in ("straße.jpg", "strasse.jpg"):
        (album / name).write_bytes(b"x")
    assert len(find_jobs([str(album)], album.parent / "out")) == 5


def test_a_folder_in_the_place_of_a_translation_is_told(album: Path) -> None:
    (album.parent / "out" / "one.jpg").mkdir(parents=True)
    for existing in ("refuse", "skip", "overwrite"):
        with pytest.raises(UserError, match=r"one\.jpg: is a folder; the translation of .*one\.jpg needs that name"):
            find_jobs([str(album)], album.parent / "out", existing=existing)
