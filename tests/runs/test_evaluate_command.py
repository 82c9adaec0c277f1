"""The evaluation command: what it prints, writes and refuses."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cyclestyle.checkpoint import save_checkpoint
from cyclestyle.config import check_config
from cyclestyle.data.synthetic import write_set
from cyclestyle.evaluate import measure as measuring
from cyclestyle.evaluate import protocol
from cyclestyle.evaluate.__main__ import main
from cyclestyle.training.state import TrainState
from tests.helpers import merged

QUICK = ["--rounds", "20", "--device", "cpu"]


@pytest.fixture(scope="module", autouse=True)
def no_inception(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever lies in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "DEFAULT_PATH", tmp_path_factory.mktemp("cache") / "weights.pth")
        yield


@pytest.fixture(scope="module")
def paired_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 training pictures and 8 test pairs, 40 pixels."""
    root = tmp_path_factory.mktemp("pairs") / "set"
    write_set(root, count=8, size=40, seed=0, test_count=8)
    return root


@pytest.fixture(scope="module")
def make_run(tiny: dict[str, Any], paired_set: Path) -> Callable[..., Path]:
    """Makes a folder the run of an untrained model, whose weights `spoil` may change."""

    def make(folder: Path, spoil: Callable[[dict[str, Any]], object] = lambda generators: None) -> Path:
        config = check_config(merged(tiny, {"data": {"root": str(paired_set)}}))
        state = TrainState(config, torch.device("cpu"), torch.float32).state_dict()
        spoil(state["generators"])
        save_checkpoint(folder / "checkpoints", config, state, keep_last=1)
        lines = [
            {
                "step": step,
                "loss/cycle_ab": 3 / step,
                "quality/swd_ab": 1 / step,
                "score/disc_a_real": 0.5,
                "train/learning_rate": 2e-4,
            }
            for step in (1, 2, 3)
        ]
        lines.append({"step": 4, "loss/cycle_ab": float("nan"), "quality/edge_f_ab": 0.5})
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 5, "lo')
        return folder

    return make


@pytest.fixture(scope="module")
def run_dir(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def evaluated(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a whole evaluation of pairs."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    assert main([str(run_dir), "--paired", "-o", str(out), "--rounds", "25", "--seed", "3", "--device", "cpu"]) == 0
    return out


@pytest.fixture(scope="module")
def result(evaluated: Path) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    found: dict[str, Any] = json.loads((evaluated / "evaluation.json").read_text(), parse_constant=refuse)
    return found


def links(root: Path, target: Path) -> Path:
    """A folder with the pictures of another, which may be changed."""
    for path in root.glob("*/*"):
        (target / path.parent.name).mkdir(parents=True, exist_ok=True)
        (target / path.parent.name / path.name).symlink_to(path)
    return target


def test_the_protocol_says_all_that_the_figures_depend_on(
    result: dict[str, Any], run_dir: Path, paired_set: Path
) -> None:
    model = run_dir / "checkpoints" / "latest.safetensors"
    assert result["model"] == {
        "path": str(model),
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "step": 0,
        "names": ["ink", "photo"],
        "seed": 0,
    }
    data = result["data"]
    assert (data["root"], data["split"], data["paired"], data["left_out"]) == (str(paired_set), "test", True, [])
    assert data["counts"] == data["floor_counts"] == {"A": 8, "B": 8}
    assert data["size"] == "short side to 40 (Pillow, bicubic, antialiased), the middle 32x32"
    assert (result["seed"], result["rounds"], result["inception"]) == (3, 25, None)
    assert set(result["versions"]) == {"python", "torch", "numpy", "pillow"}
    assert result["versions"]["torch"] == torch.__version__
    assert result["computed_on"].startswith("cpu, ")


@pytest.mark.parametrize(("key", "names"), [("ab", ("ink", "photo")), ("ba", ("photo", "ink"))])
def test_every_measure_is_told_of_both_directions(result: dict[str, Any], key: str, names: tuple[str, str]) -> None:
    one = result["directions"][key]
    assert (one["source"], one["target"]) == names
    assert set(one["distances"]) == {"kid_random", "swd", "swd_32", "swd_16", "colour"}
    for name, distance in one["distances"].items():
        assert set(distance) == {"value", "interval", "floor", "ceiling", "excess", "excess_interval"}
        assert distance["interval"][0] < distance["value"] < distance["interval"][1], name
        if distance["excess"] is not None:
            share = (distance["value"] - distance["floor"]) / (distance["ceiling"] - distance["floor"])
            assert distance["excess"] == pytest.approx(share)
    assert one["distances"]["colour"]["excess"] is not None
    kept = {"edge_f", "structure", "correlation", "change", "droplets", "cycle_l1", "cycle_psnr", "cycle_ssim", "style"}
    assert set(one["means"]) == kept | {"truth_psnr", "truth_ssim"}
    assert len(one["pictures"]) == 8
    for name, mean in one["means"].items():
        assert np.mean([picture[name] for picture in one["pictures"]]) == pytest.approx(mean, abs=1e-5)
    assert {Path(picture["file"]).parent.name for picture in one["pictures"]} == {f"test{key[0].upper()}"}
    assert set(one["artefacts_and_colours"]) == {"fake", "real", "source"}


def test_floor_and_ceiling_are_the_same_whatever_the_model(
    result: dict[str, Any], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    def spoil(generators: dict[str, Any]) -> None:
        for tensor in generators["gen_ab"].values():
            tensor.mul_(2)

    run = make_run(tmp_path / "run", spoil)
    assert main([str(run), "-o", str(tmp_path / "out"), "--rounds", "25", "--device", "cpu"]) == 0
    other = json.loads((tmp_path / "out" / "evaluation.json").read_text())["directions"]["ab"]["distances"]
    for name, distance in result["directions"]["ab"]["distances"].items():
        assert (distance["floor"], distance["ceiling"]) == (other[name]["floor"], other[name]["ceiling"])
        assert distance["value"] != other[name]["value"]


class Page(HTMLParser):
    """Refuses tags that are not closed in order; collects links, pictures and headings."""

    EMPTY = ("meta", "img", "line", "rect", "polyline")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.sources: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.sources += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_needs_nothing_beside_itself(evaluated: Path) -> None:
    text = (evaluated / "evaluation.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in page.count
    assert "link" not in page.count
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_shows_tables_pictures_and_curves(evaluated: Path) -> None:
    page = Page((evaluated / "evaluation.html").read_text())
    assert page.count["table"] == 4
    assert page.count["figure"] == 2 * 4 * 4  # directions, best and worst by two measures, pictures
    assert page.count["img"] == 3 * page.count["figure"]
    assert page.count["svg"] == 4  # of what the run wrote twice or more
    told = " ".join(page.text)
    for words in ("ink to photo", "photo to ink", "KID, random features", "0007.png: edges", "learning_rate", "sha256"):
        assert words in told
    assert not re.search(r"\bnan\b", told)


def test_the_same_command_gives_the_same_figures_beside_the_first(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(run_dir), "--count", "5", *QUICK]) == 0
    first = capsys.readouterr()
    monkeypatch.chdir(run_dir / "checkpoints")
    assert main(["latest.safetensors", "--count", "5", *QUICK]) == 0  # another name of the same model
    second = capsys.readouterr()
    folder = run_dir / "evaluation"
    assert sorted(path.name for path in folder.iterdir()) == ["test_step_00000000", "test_step_00000000-2"]
    found = [json.loads((path / "evaluation.json").read_text())["directions"] for path in sorted(folder.iterdir())]
    assert found[0] == found[1]
    assert len(found[0]["ab"]["pictures"]) == 5
    tables = [told.out.partition("\n\n")[2].partition("\n\nwritten: ")[0] for told in (first, second)]
    assert tables[0] == tables[1]
    assert "edges kept, F-score" in tables[0]
    assert f"written: {folder / 'test_step_00000000' / 'evaluation.html'}" in first.out
    assert "if they show the same, add --paired" in first.err
    assert "testA: 5 pictures say little; 50 or more are better" in first.err
    assert "without FID and KID on Inception: " in first.err


def test_a_model_file_of_no_run_is_evaluated_at_another_size_into_the_working_folder(
    run_dir: Path, paired_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.safetensors").write_bytes((run_dir / "checkpoints" / "latest.safetensors").read_bytes())
    monkeypatch.chdir(tmp_path)
    data = links(paired_set, tmp_path / "other")
    assert main(["mine.safetensors", "--data", "other", "--size", "39", "--count", "4", *QUICK]) == 0
    out = tmp_path / "evaluation" / "mine" / "test_step_00000000"
    assert "short side to 39 (Pillow, bicubic, antialiased), the middle 39x39" in (out / "evaluation.json").read_text()
    assert "svg" not in Page((out / "evaluation.html").read_text()).count
    err = capsys.readouterr().err
    assert f"the model learned ink (A) and photo (B) from {paired_set}, not from other" in err
    assert data.is_dir()


def test_a_picture_without_a_partner_is_left_out_of_pairs_and_named(
    run_dir: Path, paired_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = links(paired_set, tmp_path / "data")
    (data / "testA" / "0000.png").rename(data / "testA" / "other.png")
    (data / "testB" / "0002.png").unlink()
    (data / "testB" / "0002.png").write_text("no picture")
    assert main([str(run_dir), "--paired", "--data", str(data), "-o", str(tmp_path / "out"), *QUICK]) == 0
    err = capsys.readouterr().err
    for name in ("testA/other.png", "testB/0000.png", "testA/0002.png"):
        assert f"left out: {data / name}: has no partner that can be used" in err
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    for direction, folder in (("ab", "testA"), ("ba", "testB")):
        files = [picture["file"] for picture in found["directions"][direction]["pictures"]]
        assert files == [str(data / folder / f"{number:04d}.png") for number in (1, 3, 4, 5, 6, 7)]
    assert found["data"]["floor_counts"] == {"A": 6, "B": 6}


def test_pairs_are_drawn_together_from_folders_of_unequal_length(
    run_dir: Path, paired_set: Path, tmp_path: Path
) -> None:
    data = links(paired_set, tmp_path / "data")
    (data / "testA" / "0000.png").unlink()
    words = [str(run_dir), "--paired", "--count", "5", "--data", str(data), "-o", str(tmp_path / "out"), *QUICK]
    assert main(words) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    a, b = ([Path(p["file"]).name for p in found["directions"][key]["pictures"]] for key in ("ab", "ba"))
    assert (a == b, len(a)) == (True, 5)


def test_unreadable_pictures_are_left_out_and_named(
    run_dir: Path, paired_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = links(paired_set, tmp_path / "data")
    odd = os.fsdecode(b"\xff<b>.png")
    for name in ("testA/0003.png", "trainB/0001.png"):
        (data / name).unlink()
        (data / name).write_text("no picture")
    Image.new("RGB", (40, 40), "red").save(data / "testB" / odd)
    (data / "testB" / "0000.png").unlink()
    Image.new("RGB", (400, 2)).save(data / "testB" / "0000.png")
    assert main([str(run_dir), "--data", str(data), "-o", str(tmp_path / "out"), *QUICK]) == 0
    err = capsys.readouterr().err
    for name in ("testA/0003.png", "trainB/0001.png"):
        assert f"left out: {data / name}: not a picture, or a damaged one" in err
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["data"]["counts"] == {"A": 7, "B": 9}
    assert found["data"]["floor_counts"] == {"A": 8, "B": 7}  # another took the place of the unreadable one
    assert len(found["data"]["left_out"]) == 2
    page = Page((tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8"))
    assert "b" not in page.count
    assert any("<b>.png: edges" in text for text in page.text)


def test_a_model_that_gives_no_numbers_is_refused_and_leaves_nothing(
    make_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(generators: dict[str, Any]) -> None:
        next(iter(generators["gen_ba"].values())).view(-1)[0] = float("nan")

    run = make_run(tmp_path / "run", spoil)
    assert main([str(run), "-o", str(tmp_path / "out"), *QUICK]) == 1
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert "translates photo to ink into what is not a number" in err
    assert "take an earlier checkpoint" in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere"], "error: nowhere: no such model"),
        (["DATA"], "holds no checkpoints/latest.safetensors"),
        (["FILE"], "not a checkpoint of cyclestyle"),
        (
            ["RUN", "--data", "nowhere"],
            "error: --data nowhere: there is no such folder; name one that holds testA and testB",
        ),
        (["RUN", "--split", "val"], "valA: this folder is missing"),
        (["RUN", "--split", "val"], "choose others with --split or --data"),
        (["RUN", "--data", "FEW"], "FEW/testB: 1 of its pictures can be used; distances between collections need at"),
        (["RUN", "--data", "BAD"], "testA: 0 of its pictures can be used"),
        (["RUN", "-o", "DATA"], "exists already and is not empty"),
        (["RUN", "-o", "FILE/out"], "FILE"),
        (["RUN", "--inception", "nowhere.pth"], "error: nowhere.pth: no such file; for FID, KID, precision and recall"),
        (["RUN", "--inception", "FILE"], "not InceptionV3's weights (not a state_dict that torch.save wrote)"),
        (["RUN", "--paired", "--data", "UNPAIRED"], "without a partner: UNPAIRED/testA/0000x.png"),
    ],
)
def test_mistakes_are_one_line_and_status_1(
    run_dir: Path, paired_set: Path, tmp_path: Path, words: list[str], expected: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refuse(*_: object) -> None:
        raise AssertionError("it has begun")

    monkeypatch.setattr(measuring, "_translate", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("text")
    if "FEW" in words:
        for path in [*links(paired_set, tmp_path / "FEW").glob("testB/*")][1:]:
            path.unlink()
    if "BAD" in words:
        for path in links(paired_set, tmp_path / "BAD").glob("test*/*"):
            path.unlink()
            path.write_text("no picture")
    if "UNPAIRED" in words:
        for path in links(paired_set, tmp_path / "UNPAIRED").glob("testA/*"):
            path.rename(path.with_stem(f"{path.stem}x"))
    names = {"RUN": str(run_dir), "DATA": str(paired_set)}
    assert main([names.get(word, word) for word in words]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert expected in "\n".join(lines)
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert lines[-1].startswith("error: ") or "BAD" in words  # whose bad pictures follow
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--count", "0"], "--count must be at least 4, not 0"),
        (["--size", "31"], "--size must be at least 32, not 31"),
        (["--rounds", "0"], "--rounds must be at least 20, not 0"),
        (["--batch-size", "0"], "--batch-size must be at least 1, not 0"),
        (["--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--seed", "4294967296"], "--seed must be below 2**32, not 4294967296"),
        (["--pared"], "did you mean '--paired'?"),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["nowhere", *words])
    assert expected in capsys.readouterr().err


def test_inception_adds_what_others_publish(
    run_dir: Path, inception_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(run_dir), "--inception", str(inception_file), "--count", "4", "-o", str(tmp_path / "out"), *QUICK]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "without FID" not in told.err
    for title in ("FID, Inception", "KID, Inception", "precision, Inception", "recall, Inception"):
        assert told.out.count(title) == 2
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["inception"]["published"] is False
    one = found["directions"]["ab"]
    assert {"fid", "kid"} < set(one["distances"])
    assert 0 <= one["precision"] <= 1
    assert one["distances"]["fid"]["floor"] >= 0
