"""Parts of an evaluation: which pictures, what is told of them, and how runs are drawn."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cyclestyle.checkpoint import TrainedModel
from cyclestyle.config import LossConfig, check_config
from cyclestyle.data.held_out import middle_squares
from cyclestyle.data.synthetic import draw_ink, draw_photo
from cyclestyle.data.unpaired import list_pictures
from cyclestyle.errors import UserError
from cyclestyle.evaluate.curves import curves
from cyclestyle.evaluate.measure import Direction, Sets, load_sets, measure, plain
from cyclestyle.evaluate.page import write_page
from cyclestyle.evaluate.protocol import data_config, default_out, differ_in_shape, doubts, pick_extractors
from cyclestyle.evaluate.table import distance_rows
from cyclestyle.metrics.compare import Extractors, Measured
from cyclestyle.metrics.distances import Interval
from cyclestyle.training.quality import Quality
from tests.helpers import landscapes, merged


def model_of(tiny: dict[str, Any], path: Path = Path("model.pt"), **data: Any) -> TrainedModel:
    return TrainedModel(check_config(merged(tiny, {"data": data})), 12, {}, path)


@pytest.mark.parametrize("count", [None, 4])
def test_training_pictures_that_are_measured_are_not_their_own_floor(tiny: dict[str, Any], count: int | None) -> None:
    sets = load_sets(check_config(tiny).data, "train", count, seed=0)
    for domain in "AB":
        assert len(sets.real[domain]) == len(sets.floor[domain]) == 4
        assert not any(np.array_equal(x, y) for x in sets.real[domain] for y in sets.floor[domain])


def test_the_floor_has_as_many_pictures_of_a_domain_as_are_translated_into_it(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    drawn = Path(tiny["data"]["root"])
    for name, count in (("trainA", 8), ("trainB", 8), ("testA", 4), ("testB", 6)):
        (tmp_path / name).mkdir()
        for i, path in enumerate(sorted((drawn / f"train{name[-1]}").iterdir())[:count]):
            (tmp_path / name / f"{i}.png").symlink_to(path)
    sets = load_sets(check_config(merged(tiny, {"data": {"root": str(tmp_path)}})).data, "test", None, seed=0)
    assert [len(sets.real[d]) for d in "AB"] == [4, 6]
    assert [len(sets.floor[d]) for d in "AB"] == [6, 4]


def test_any_seed_of_a_run_draws_pictures(tiny: dict[str, Any]) -> None:
    data = check_config(tiny).data
    paths = list_pictures(data, "trainA")
    drawn = [middle_squares(paths, data, "", 3, seed)[1] for seed in (1, 2**32 + 1, 2**63 - 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_size_of_an_evaluation_is_that_of_training_or_another(tiny: dict[str, Any]) -> None:
    own, other = (data_config(model_of(tiny), "elsewhere", size) for size in (None, 64))
    assert (own.root, own.load_size, own.crop_size) == ("elsewhere", 40, 32)
    assert (other.root, other.load_size, other.crop_size) == ("elsewhere", 64, 64)
    with pytest.raises(UserError, match=r"trained on 16 pixels, and measures need 32: add --size 32"):
        data_config(model_of(tiny, crop_size=16), None, None)
    assert data_config(model_of(tiny, crop_size=16), None, 32).crop_size == 32


def test_a_model_that_does_not_know_its_pictures_needs_data(tiny: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="does not say where its pictures lie; name a folder with --data ROOT"):
        data_config(model_of(tiny, root=None), None, None)


def test_results_lie_in_the_run_that_a_model_lies_in(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    monkeypatch.chdir(checkpoints)
    expected = tmp_path / "run" / "evaluation" / "val_step_00000012"
    for path in (checkpoints / "latest.pt", Path("latest.pt")):
        assert default_out(model_of(tiny, path), "val").resolve() == expected
    expected.mkdir(parents=True)
    assert default_out(model_of(tiny, Path("latest.pt")), "val").name == "val_step_00000012-2"
    assert default_out(model_of(tiny, tmp_path / "mine.pt"), "val") == Path("evaluation/mine/val_step_00000012")


def test_names_of_domains_are_text_on_the_page(tmp_path: Path) -> None:
    size, names = (2, 32, 32, 3), ("<b>ink", "photo")
    one = Direction(*names, *3 * [np.zeros(size, np.uint8)], [Path("a.png"), Path("b.png")])
    one.each = {"edge_f": np.ones(2), "style": np.ones(2)}
    keys = [f"checkerboard_{stride}" for stride in (2, 4)] + [f"{x}_{y}" for x in "Lab" for y in ("mean", "std")]
    one.means = {name: dict.fromkeys(keys, 1.0) for name in ("fake", "real", "source")}
    told = {"date": "", "data": {"counts": {"A": 2, "B": 2}, "split": "test", "size": "32"}}
    write_page(tmp_path / "a.html", told | {"model": {"path": "m", "step": 1, "names": names}}, {"ab": one}, [])
    assert "<b>" not in (tmp_path / "a.html").read_text()
    assert "&lt;b&gt;ink" in (tmp_path / "a.html").read_text()


def test_a_distance_without_excess_has_dashes() -> None:
    empty = np.zeros((0, 1, 1, 3), np.uint8)
    one = Direction("ink", "photo", empty, empty, empty, [])
    one.distances["swd_16"] = Measured(Interval(123.4, 98.76, 1234.5), 0.0123, 1.234, None)
    one.distances["colour"] = Measured(Interval(2, -0.0, 3), 1e-5, 5, Interval(0.25, 0, 0.5))
    assert distance_rows(one) == [
        ("sliced Wasserstein, 16 pixels", "123", "98.8 to 1234", "0.0123", "1.23", "-", "-"),
        ("colour (L*, a*, b*)", "2.00", "0 to 3.00", "1e-05", "5.00", "0.25", "0.00 to 0.50"),
    ]


@pytest.mark.parametrize("values", [(0.0, 0.0), (2e-4, 2e-4), (1e-13, 2e-13), (-5.0, 3.0), (1e9, 1e9 + 1)])
def test_a_curve_stays_within_its_axes(values: tuple[float, float]) -> None:
    metrics = [{"step": step, "train/learning_rate": value} for step, value in enumerate(values)]
    [drawn] = curves(metrics)
    points = drawn.partition("points='")[2].partition("'")[0].split()
    assert len(points) == 2
    for point in points:
        x, y = map(float, point.split(","))
        assert 52 <= x <= 508
        assert 29.9 <= y <= 208.1


def test_curves_leave_out_what_is_no_number_and_what_was_written_once() -> None:
    metrics: list[dict[str, Any]] = [{"step": 1, "loss/cycle_ab": 1.0, "score/disc_a_real": 1}]
    metrics += [{"step": 2, "loss/cycle_ab": math.nan}, {"step": 3, "loss/cycle_ab": 2.0, "loss/identity_<b>": "x"}]
    [drawn] = curves(metrics)
    assert drawn.count("<polyline") == 2
    assert "Cycle and identity losses" in drawn
    assert "nan" not in drawn
    assert "<b>" not in drawn
    assert curves([]) == curves(metrics[:1]) == []


def test_pairs_that_differ_in_shape_are_told(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "wide.png")
    Image.new("RGB", (80, 120)).save(tmp_path / "turned.jpg", exif=turned)
    Image.new("RGB", (60, 42)).save(tmp_path / "other.png")
    assert not differ_in_shape(tmp_path / "wide.png", tmp_path / "turned.jpg")
    assert differ_in_shape(tmp_path / "wide.png", tmp_path / "other.png")


@pytest.mark.parametrize(
    ("excesses", "doubted"), [((1.1, 1.3), True), ((1.1, 0.7), False), ((1.1, None), False), ((0.2, 0.3), False)]
)
def test_translations_no_nearer_than_untranslated_pictures_raise_doubts(
    excesses: tuple[float | None, ...], doubted: bool
) -> None:
    def measured(excess: float | None) -> Any:
        interval = None if excess is None else Interval(excess, excess, excess)
        return SimpleNamespace(distances={"kid_random": SimpleNamespace(excess=interval)})

    told = doubts({key: measured(excess) for key, excess in zip(("ab", "ba"), excesses, strict=True)})
    assert ["not exchanged" in line for line in told] == [True] * doubted


def test_every_loss_of_a_run_is_in_a_curve() -> None:
    options = LossConfig.model_fields.keys() - {"adversarial"}
    names = {f"{name}_{d}" for name in (*options, "adversarial") for d in ("ab", "ba")} | {"disc_a", "disc_b"}
    drawn = "".join(curves([{"step": step} | {f"loss/{name}": 1.0 for name in names} for step in (1, 2)]))
    assert {name for name in names if f">{name}<" not in drawn} == set()


class Copies:
    """Stands for a translator that changes nothing."""

    def __init__(self, source: str, target: str) -> None:
        self.source, self.target = source, target

    def batch(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        return pictures


def test_a_translator_that_changes_nothing_has_an_excess_of_1_and_keeps_everything() -> None:
    real, floor = (
        {"A": landscapes(draw_ink, part, 12, 32), "B": landscapes(draw_photo, part + 1, 12, 32)} for part in (0, 2)
    )
    paths = {domain: [Path(f"{i}.png") for i in range(12)] for domain in "AB"}
    sets = Sets(real, floor, paths, [])
    translators: Any = {"ab": Copies("ink", "photo"), "ba": Copies("photo", "ink")}
    found = measure(translators, sets, Extractors(torch.device("cpu")), rounds=30, paired=False, batch=5)
    for one in found.values():
        for name in ("kid_random", "colour"):
            excess = one.distances[name].excess
            assert excess is not None
            assert excess.value == pytest.approx(1, abs=0.05)
        for name, best in {"edge_f": 1, "structure": 1, "change": 0, "droplets": 0, "cycle_l1": 0}.items():
            assert one.each[name] == pytest.approx(np.full(12, best), abs=1e-5)
        assert (one.each["style"] < 0).all()
    same = Sets({"A": real["A"], "B": real["A"]}, floor, paths, [])
    one = measure(translators, same, Extractors(torch.device("cpu")), rounds=30, paired=True, batch=5)["ab"]
    assert one.each["truth_psnr"].tolist() == [100] * 12
    json.dumps(plain({"ab": one}), allow_nan=False)


class Brightens(Copies):
    """Stands for a translator to ink that adds to each pixel what the one to photos takes away."""

    def batch(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        return [picture + np.uint8(50 if self.target == "ink" else -50 % 256) for picture in pictures]


def test_a_reconstruction_is_what_the_other_translator_makes_of_a_translation() -> None:
    pictures = {d: landscapes(draw_ink, part, 4, 32) // 2 + 60 for part, d in enumerate("AB")}
    sets = Sets(pictures, pictures, {d: [Path(f"{i}.png") for i in range(4)] for d in "AB"}, [])
    translators: Any = {"ab": Brightens("ink", "photo"), "ba": Brightens("photo", "ink")}
    found = measure(translators, sets, Extractors(torch.device("cpu")), rounds=20, paired=False, batch=3)
    for one in found.values():
        assert one.each["cycle_l1"].tolist() == pytest.approx([0] * 4, abs=1e-4)
        assert one.each["change"].tolist() == pytest.approx([50 / 255] * 4, rel=1e-4)
        assert np.array_equal(one.recs, one.sources)


def test_where_a_gpu_has_no_float64_pictures_are_measured_on_the_cpu(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    mps = torch.device("mps")
    assert (
        pick_extractors(None, mps)[0].device.type == Quality(check_config(tiny), mps)._extractors.device.type == "cpu"
    )
