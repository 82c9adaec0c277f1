"""How sets of pictures compare, by every distance; and features of InceptionV3 from a file."""

import hashlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from cyclestyle.data.synthetic import draw_ink, draw_photo
from cyclestyle.errors import UserError
from cyclestyle.images import to_tensor
from cyclestyle.metrics import compare as comparing
from cyclestyle.metrics.compare import Described, Extractors, compare, excess, nearness, pairs, values
from cyclestyle.metrics.descriptors import to_lab
from cyclestyle.metrics.inception import InceptionFeatures, check_inception
from tests.helpers import landscapes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def extractors() -> Extractors:
    return Extractors(CPU)


@pytest.fixture(scope="module")
def ink(extractors: Extractors) -> Described:
    """The real pictures that the others are compared with."""
    return Described(landscapes(draw_ink, 0, 24), extractors, 0)


OTHER_INK, PHOTOS = landscapes(draw_ink, 1, 24), landscapes(draw_photo, 2, 24)


def blurred(pictures: np.ndarray, level: float) -> np.ndarray:
    return gaussian_filter(pictures, (0, level, level, 0)) if level else pictures


def noisy(pictures: np.ndarray, level: float) -> np.ndarray:
    added = 255 * level * np.random.RandomState(0).standard_normal(pictures.shape)
    return (pictures + added).round().clip(0, 255).astype(np.uint8)


def tinted(pictures: np.ndarray, level: float) -> np.ndarray:
    return (pictures * (1 - level * np.array([0, 0.5, 1]))).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "levels", "names"),
    [
        (tinted, (0, 0.2, 0.4, 0.8), ("kid_random", "swd", "swd_24", "colour")),
        (blurred, (0, 0.7, 1.4, 3), ("kid_random", "swd", "swd_48", "swd_24")),
        (noisy, (0, 0.05, 0.1, 0.3), ("kid_random", "swd", "swd_48", "colour")),
    ],
)
def test_distances_grow_with_what_is_done_to_pictures(
    change: Callable[[np.ndarray, float], np.ndarray],
    levels: tuple[float, ...],
    names: tuple[str, ...],
    ink: Described,
    extractors: Extractors,
) -> None:
    found = [values(Described(change(OTHER_INK, level), extractors, 1), ink) for level in levels]
    for name in names:
        series = [one[name] for one in found]
        assert series == sorted(series), name
        assert series[-1] > 2 * abs(series[0]), name


def test_values_have_every_distance_and_the_same_set_is_nearest(ink: Described, extractors: Extractors) -> None:
    sets = ink, Described(OTHER_INK, extractors, 1), Described(PHOTOS, extractors, 2)
    same, other, photos = (values(one, ink) for one in sets)
    assert set(same) == {"kid_random", "swd", "swd_48", "swd_24", "colour"}
    assert same["swd"] == same["colour"] == 0
    assert all(same[name] < other[name] < photos[name] for name in same)


def test_values_come_with_those_of_draws(ink: Described, extractors: Extractors) -> None:
    once = values(Described(PHOTOS, extractors, 2), ink)
    for name, drawn in values(Described(PHOTOS, extractors, 2), ink, rounds=40).items():
        assert drawn.shape == (41,)
        assert drawn[0] == once[name]
        assert 0 < drawn[1:].std() < 0.3 * drawn[0]


def test_swd_is_in_units_of_the_spread_of_real_pictures(ink: Described, extractors: Extractors) -> None:
    pale = [Described(pictures // 2 + 64, extractors, s) for s, pictures in ((0, ink.pictures), (1, PHOTOS))]
    expected, found = values(Described(PHOTOS, extractors, 1), ink), values(pale[1], pale[0])
    assert found["swd_48"] == pytest.approx(expected["swd_48"], rel=0.05)
    assert found["swd"] == pytest.approx(expected["swd"], rel=0.05)


def test_compare_tells_another_real_set_from_untranslated_pictures(ink: Described, extractors: Extractors) -> None:
    source, floor = Described(PHOTOS, extractors, 1), Described(landscapes(draw_ink, 3, 24), extractors, 2)
    real, none = (
        compare(Described(pictures, extractors, 4), source, ink, floor, rounds=40) for pictures in (OTHER_INK, PHOTOS)
    )
    assert set(real) == set(none) == {"kid_random", "swd", "swd_48", "swd_24", "colour"}
    for name in ("kid_random", "swd", "colour"):
        near, far = real[name].excess, none[name].excess
        assert near is not None
        assert far is not None
        assert near.value == pytest.approx(0, abs=0.05)
        assert near.low < near.value < near.high
        assert far.value == pytest.approx(1, abs=0.02), name
        assert (far.low, far.high) == pytest.approx((1, 1), abs=0.2)  # their patches lie elsewhere
        assert none[name].value.low < none[name].value.value < none[name].value.high
        assert none[name].value.value == pytest.approx(none[name].ceiling, rel=0.02)
        assert real[name].floor == none[name].floor < real[name].ceiling
    plain = values(Described(OTHER_INK, extractors, 4), ink)
    assert {name: measured.value.value for name, measured in real.items()} == pytest.approx(
        {n: float(v) for n, v in plain.items()}
    )


def test_excess_is_left_out_where_untranslated_pictures_are_as_near_as_real_ones(
    ink: Described, extractors: Extractors
) -> None:
    sets = (Described(landscapes(draw_ink, part, 12), extractors, part) for part in (5, 6))
    found = compare(Described(PHOTOS[:12], extractors, 4), next(sets), ink, next(sets), rounds=40)
    assert found["kid_random"].excess is None
    assert found["swd"].excess is None
    assert found["kid_random"].value.value > 10 * abs(found["kid_random"].ceiling)


def test_a_draw_whose_ceiling_is_near_its_floor_does_not_widen_the_interval(ink: Described) -> None:
    def distance(
        sets: list[tuple[Described, torch.Tensor]], real: Described, weights: torch.Tensor
    ) -> list[dict[str, torch.Tensor]]:
        fake, floor, source = (torch.full((len(weights),), value) for value in (0.5, 0.0, 1.0))
        fake[1:] += torch.linspace(-0.1, 0.1, len(weights) - 1)
        source[1] = 1e-6
        return [{"distance": values.double()} for values in (fake, floor, source)]

    found = compare(ink, ink, ink, ink, distances=(distance,), rounds=100)["distance"].excess
    assert found is not None
    assert found == pytest.approx((0.5, 0.4, 0.6), abs=0.02)


def test_translations_are_drawn_with_their_sources_and_other_sets_by_themselves(ink: Described) -> None:
    drawn: list[list[torch.Tensor]] = []

    def distance(
        sets: list[tuple[Described, torch.Tensor]], real: Described, weights: torch.Tensor
    ) -> list[dict[str, torch.Tensor]]:
        drawn.append([weights, *(w for _, w in sets)])
        return [{"distance": torch.arange(len(weights)).double() + i} for i in range(3)]

    compare(ink, ink, ink, ink, distances=(distance,), rounds=10)
    [(real, fake, floor, source)] = drawn
    assert all(torch.equal(weights[0], torch.ones(len(ink)).double()) for weights in (real, fake, floor))
    assert torch.equal(fake, source)
    assert real.shape == floor.shape == fake.shape == (11, len(ink))
    assert not any(torch.equal(a, b) for a, b in ((real, fake), (real, floor), (fake, floor)))


@pytest.mark.parametrize(("value", "expected"), [(2, 0), (6, 1), (4, 0.5), (10, 2), (0, -0.5)])
def test_excess_is_the_share_of_the_way_from_floor_to_ceiling(value: float, expected: float) -> None:
    assert excess(value, floor=2, ceiling=6) == expected
    assert np.isnan(excess(value, floor=6, ceiling=6))


def test_compare_gives_the_same_figures_again() -> None:
    def run() -> dict[str, comparing.Measured]:
        sets, extractors = ((OTHER_INK, 4), (PHOTOS, 1), (OTHER_INK[::-1], 0), (PHOTOS[::-1], 2)), Extractors(CPU)
        described = [Described(pictures[:6].copy(), extractors, seed) for pictures, seed in sets]
        return compare(*described, rounds=20)

    assert repr(run()) == repr(run())


def test_a_set_is_described_alike_in_any_company(extractors: Extractors) -> None:
    many = np.concatenate([OTHER_INK, PHOTOS])
    one, part = Described(many, extractors, 3), Described(many[:20], extractors, 3)
    assert torch.allclose(one.random[:20], part.random, atol=1e-4)
    assert torch.equal(one.patches[0][:16], part.patches[0][:16])
    expected = to_lab(to_tensor(many)).flatten(2)
    for i in (0, 47):
        assert all(bool((colour == expected[i].T).all(1).any()) for colour in one.colours[i][:20])


def test_pairs_by_hand(extractors: Extractors) -> None:
    grey = np.full((5, 32, 32, 3), 100, np.uint8)
    fake, source, rec = (Described(p.astype(np.uint8), extractors, 0) for p in (grey + 51, grey, grey + 10))
    found = pairs(fake, source, rec)
    assert all(each.shape == (5,) for each in found.values())
    assert found["change"].tolist() == pytest.approx([0.2] * 5)
    assert found["cycle_l1"].tolist() == pytest.approx([10] * 5, rel=1e-4)
    assert found["cycle_psnr"].tolist() == pytest.approx([10 * np.log10(255**2 / 100)] * 5, rel=1e-4)
    assert found["edge_f"].tolist() == [1] * 5
    assert "cycle_l1" not in pairs(fake, source)
    assert np.isfinite(pairs(fake, source, source)["cycle_psnr"]).all()


def test_nearness_tells_translated_from_untranslated(ink: Described, extractors: Extractors) -> None:
    photos = Described(PHOTOS, extractors, 1)
    assert (nearness(Described(OTHER_INK, extractors, 2), ink, photos) > 0).all()
    assert (nearness(Described(landscapes(draw_photo, 7), extractors, 2), ink, photos) < 0).all()


def test_diversity_is_0_for_one_picture_again_and_again(ink: Described, extractors: Extractors) -> None:
    assert comparing.diversity(Described(OTHER_INK[:1].repeat(9, 0), extractors, 0)) == pytest.approx(0, abs=1e-6)
    greys = np.zeros((3, 32, 32, 3), np.uint8) + np.array([0, 102, 255], np.uint8)[:, None, None, None]
    assert comparing.diversity(Described(greys, extractors, 0)) == pytest.approx((0.4 + 0.4 + 0.6) / 3, rel=1e-4)
    assert comparing.diversity(Described(greys.repeat(2, 0), extractors, 0)) == pytest.approx(0, abs=1e-6)
    assert 0.01 < comparing.diversity(ink) < 0.5


def test_inception_without_torch_fidelity_names_what_to_install_and_to_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UserError, match=r"is not installed.*pip install 'cyclestyle\[metrics\]', and download https:"):
        check_inception(tmp_path / "weights.pth")


def test_inception_without_its_file_names_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights\.pth: no such file.* https://github\.com/toshas/.*--inception"):
        InceptionFeatures(tmp_path / "weights.pth", CPU)


class Runs:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("content", ["text", "nothing", "another network", "code", "code in a checkpoint"])
def test_another_file_is_refused_as_inception_and_runs_nothing(content: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    if content in ("text", "nothing"):
        path.write_text(content if content == "text" else "")
    elif content == "code":
        path.write_bytes(pickle.dumps(Runs(mark)))
    else:
        torch.save(Runs(mark) if "code" in content else torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(UserError, match=r"weights\.pth: not InceptionV3's weights \(.*--inception") as caught:
        InceptionFeatures(path, CPU)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_inception_gives_the_features_of_torch_fidelity_for_8_bit_pictures(inception_file: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    pictures = np.random.RandomState(0).randint(0, 256, (2, 40, 40, 3)).astype(np.uint8)
    theirs = FeatureExtractorInceptionV3("", ["2048"], feature_extractor_weights_path=str(inception_file))
    expected = theirs(torch.from_numpy(pictures).permute(0, 3, 1, 2))[0]
    ours = InceptionFeatures(inception_file, CPU)
    assert torch.equal(ours(to_tensor(pictures)), expected)
    assert float((expected[0] - expected[1]).norm() / expected.norm()) > 0.001
    assert ours.hash == hashlib.sha256(inception_file.read_bytes()).hexdigest()
    assert not ours.is_published
    with torch.no_grad():
        next(ours.net.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match=r"gives features that are no numbers"):
        ours(to_tensor(pictures))
