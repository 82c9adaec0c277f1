"""Distances of sets and measures of pairs, against values worked out by hand and other people's code."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import correlate1d
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from cyclestyle.metrics import paired
from cyclestyle.metrics.distances import (
    fid,
    interval,
    kid,
    precision_recall,
    resamplings,
    wasserstein,
    witness,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape))


def once(x: Tensor) -> Tensor:
    return torch.ones(1, len(x))


def smooth(seed: int, side: int = 48) -> Tensor:
    """(1, 3, side, side) within [-1, 1]: blotches of a few pixels."""
    grey = F.interpolate(drawn(1, 3, side // 6, side // 6, seed=seed), size=side, mode="bicubic")
    return (grey / grey.abs().max()).float()


def test_kid_and_fid_are_those_of_torch_fidelity() -> None:
    x, y = drawn(20, 6), 0.7 * drawn(20, 6, seed=1) + 0.3
    theirs = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=20, verbose=False)
    assert float(kid(x, y, once(x), once(y))) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    stats = [fid_features_to_statistics(features) for features in (x, y)]
    theirs = fid_statistics_to_metric(*stats, verbose=False)
    assert float(fid(x, y, once(x), once(y))) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_precision_and_recall_are_those_of_torch_fidelity(seed: int) -> None:
    x, y = drawn(60, 4, seed=seed), 0.9 * drawn(50, 4, seed=seed + 10) + 0.9
    theirs = prc_features_to_metric(x, y, verbose=False)
    assert precision_recall(x, y) == pytest.approx((theirs["precision"], theirs["recall"]))
    assert len({theirs["precision"], theirs["recall"], 1.0}) == 3


def test_precision_falls_outside_the_real_ones_and_recall_where_some_are_never_made() -> None:
    real = drawn(40, 2)
    far, few = real + 50, real[:1].repeat(40, 1) + 0.01 * drawn(40, 2, seed=1)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(far, real) == (0, 0)
    precision, recall = precision_recall(few, real)
    assert precision > 0.9
    assert recall < 0.1


def test_kid_with_weights_counts_every_pair_of_different_pictures() -> None:
    x, y, weights_x, weights_y = drawn(5, 3), drawn(4, 3, seed=1), (2, 0, 1, 1, 3), (0, 1, 4, 1)

    def mean(a: Tensor, b: Tensor, of_a: tuple[int, ...], of_b: tuple[int, ...], same: bool) -> float:
        total = count = 0.0
        for i, p in enumerate(a):
            for j, q in enumerate(b):
                if not (same and i == j):
                    total += of_a[i] * of_b[j] * (float(p @ q) / 3 + 1) ** 3
                    count += of_a[i] * of_b[j]
        return total / count

    by_hand = (
        mean(x, x, weights_x, weights_x, True)
        + mean(y, y, weights_y, weights_y, True)
        - 2 * mean(x, y, weights_x, weights_y, False)
    )
    found = kid(x, y, torch.tensor([weights_x, [1] * 5]), torch.tensor([weights_y, [1] * 4]))
    assert float(found[0]) == pytest.approx(by_hand, rel=1e-9)
    assert float(found[1]) == pytest.approx(float(kid(x, y, once(x), once(y))))


def test_fid_with_weights_is_that_of_the_repeated_pictures() -> None:
    x, y, weights = drawn(9, 4), drawn(7, 4, seed=1), torch.tensor([2, 0, 1, 1, 3, 0, 1, 1, 0])
    repeated = x.repeat_interleave(weights, 0)
    expected = fid(repeated, y, once(repeated), once(y))
    assert float(fid(x, y, weights[None], once(y))) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("distance", [kid, fid])
def test_kid_and_fid_are_least_for_equal_distributions_and_grow_with_a_shift(distance: Callable[..., Tensor]) -> None:
    x, y = drawn(300, 4), drawn(300, 4, seed=1)
    found = [float(distance(x + shift, y, once(x), once(y))) for shift in (0, 0.3, 0.6, 1.2)]
    assert found == sorted(found)
    assert abs(found[0]) < 0.2 * found[1]


def test_fid_of_equal_sets_is_0_and_kid_is_around_it() -> None:
    x = drawn(30, 50)  # fewer than they have dimensions
    assert float(fid(x, x, once(x), once(x))) == pytest.approx(0, abs=1e-9)
    halves = [float(kid(a[:15], a[15:], once(a[:15]), once(a[15:]))) for a in (drawn(30, 4, seed=s) for s in range(40))]
    assert abs(np.mean(halves)) < 2 * np.std(halves) / 40**0.5
    assert min(halves) < 0 < max(halves)


def test_witness_is_the_mean_kernel() -> None:
    x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    assert witness(x, y).tolist() == pytest.approx([(2**3 + 1 + 1) / 3, (1 + 1 + 3**3) / 3])


@pytest.mark.parametrize(("ours", "theirs"), [(40, 40), (40, 25), (7, 64)])
def test_wasserstein_along_one_direction_is_that_of_scipy(ours: int, theirs: int) -> None:
    x, y = drawn(ours, 8, 2).float(), 1.5 * drawn(theirs, 8, 2, seed=1).float() + 0.4
    way = torch.tensor([[0.6], [0.8]])
    expected = wasserstein_distance((x.flatten(0, 1) @ way).ravel().numpy(), (y.flatten(0, 1) @ way).ravel().numpy())
    assert float(wasserstein(x, y, once(x), once(y), way)) == pytest.approx(expected, rel=1e-5)


def test_wasserstein_is_the_mean_over_directions_and_0_for_the_same_set() -> None:
    x, y = drawn(30, 5, 3).float(), drawn(30, 5, 3, seed=1).float() + torch.tensor([0.0, 1.0, 5.0])
    axes = torch.eye(3)
    each = [float(wasserstein(x, y, once(x), once(y), axes[:, i : i + 1])) for i in range(3)]
    assert float(wasserstein(x, y, once(x), once(y), axes)) == pytest.approx(np.mean(each), rel=1e-6)
    assert float(wasserstein(x, y, once(x), once(y), axes.repeat(1, 7))) == pytest.approx(np.mean(each), rel=1e-6)
    assert each == pytest.approx([0, 1, 5], abs=0.3)
    assert float(wasserstein(y, y, once(y), once(y), axes)) == 0


def test_wasserstein_of_draws_is_that_of_the_repeated_pictures_to_first_order() -> None:
    x, y, ways = drawn(60, 4, 3).float() + 1, drawn(50, 7, 3, seed=1).float(), drawn(3, 5, seed=2).float()
    rows = resamplings(60, 20, 0), resamplings(50, 20, 1)
    found = wasserstein(x, y, *rows, ways)
    for draw in range(21):
        a, b = (z.repeat_interleave(w[draw].long(), 0) for z, w in zip((x, y), rows, strict=True))
        assert float(found[draw]) == pytest.approx(float(wasserstein(a, b, once(a), once(b), ways)), rel=0.06)


def test_resamplings_keep_the_number_of_pictures_and_begin_with_all_of_them() -> None:
    weights = resamplings(12, rounds=30, seed=1)
    assert weights.shape == (31, 12)
    assert weights[0].tolist() == [1] * 12
    assert weights.sum(1).tolist() == [12] * 31
    assert len(weights[1:].unique(dim=0)) == 30
    assert torch.equal(weights, resamplings(12, rounds=30, seed=1))
    assert not torch.equal(weights, resamplings(12, rounds=30, seed=2))


def test_few_pictures_have_an_interval_too() -> None:
    x, y = torch.randn(3, 8), torch.randn(4, 8)
    draws = kid(x, y, resamplings(3, 200, 0), resamplings(4, 200, 1))
    assert draws.isfinite().all()
    assert len(draws.unique()) > 20


def test_an_interval_lies_around_its_value_as_its_draws_lie_around_their_mean() -> None:
    draws = torch.linspace(10, 20, 101, dtype=torch.float64)
    assert interval(3, draws) == pytest.approx((3, 3 - 4.75, 3 + 4.75))


@pytest.mark.parametrize("distance", [kid, fid])
def test_intervals_hold_the_value_and_shrink_with_more_pictures(distance: Callable[..., Tensor]) -> None:
    widths = []
    for count in (20, 80, 320):
        x, y = drawn(count, 4) + 0.5, drawn(count, 4, seed=1)
        values = distance(x, y, resamplings(count, 100, 0), resamplings(count, 100, 1))
        found = interval(float(values[0]), values[1:])
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths[0] > 1.5 * widths[1] > 2.25 * widths[2]


def sliced(x: Tensor, y: Tensor, weights_x: Tensor, weights_y: Tensor) -> Tensor:
    """Of pictures of 8 descriptors each, which are alike."""
    each = torch.randn(8, 16, generator=torch.Generator().manual_seed(7)).double()
    return wasserstein(x[:, None] + each, y[:, None] + each, weights_x, weights_y, torch.eye(16).double())


@pytest.mark.parametrize("distance", [kid, sliced])
def test_intervals_are_as_wide_as_other_draws_of_pictures_scatter(distance: Callable[..., Tensor]) -> None:
    found = []
    for seed in range(60):
        x, y = (F.normalize(drawn(30, 16, seed=s) + m) * 4 for s, m in ((seed, 0.5), (seed + 99, 0)))
        draws = distance(x, y, resamplings(30, 100, 0), resamplings(30, 100, 1))
        found.append(interval(float(draws[0]), draws[1:]))
    scatter = 2 * 1.96 * np.std([one.value for one in found])
    assert np.mean([one.high - one.low for one in found]) == pytest.approx(scatter, rel=0.2)


def test_psnr_by_hand() -> None:
    picture = np.full((4, 4, 3), 100, np.uint8)
    assert paired.psnr(picture, picture) == float("inf")
    assert paired.psnr(picture, picture + np.uint8(10)) == pytest.approx(10 * np.log10(255**2 / 100))
    assert paired.psnr(np.zeros_like(picture), np.full_like(picture, 255)) == 0


def ssim_by_scipy(x: Tensor, y: Tensor) -> float:
    """Of luminance 0 to 1, in whole windows of 11 pixels."""
    grey = [(0.299 * p[0, 0] + 0.587 * p[0, 1] + 0.114 * p[0, 2]).double().numpy() / 2 + 0.5 for p in (x, y)]
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))

    def local(values: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            values = correlate1d(values, taps / taps.sum(), axis)
        return values[5:-5, 5:-5]

    (a, b), c1, c2 = grey, 0.01**2, 0.03**2
    mean_a, mean_b = local(a), local(b)
    var_a, var_b, both = local(a * a) - mean_a**2, local(b * b) - mean_b**2, local(a * b) - mean_a * mean_b
    return float(
        np.mean((2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    )


def test_ssim_is_that_of_another_implementation() -> None:
    x = smooth(0)
    for y in (x, smooth(1), 0.5 * x + 0.2, -x, (x + 0.3 * smooth(2)).clamp(-1, 1)):
        assert float(paired.ssim(x, y)) == pytest.approx(ssim_by_scipy(x, y), abs=2e-5)


@pytest.mark.parametrize("measure", [paired.ssim, paired.edge_f_score, paired.structure, paired.correlation])
def test_measures_of_pairs_are_1_for_equal_pictures_and_fall_with_noise(measure: Callable[..., Tensor]) -> None:
    x, noise = smooth(0), drawn(1, 3, 48, 48, seed=9).float()
    found = [float(measure((x + level * noise).clamp(-1, 1), x)) for level in (0, 0.05, 0.2, 0.8)]
    assert found[0] == pytest.approx(1, abs=1e-5)
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.6


def test_measures_of_pairs_are_told_of_each_pair_alone() -> None:
    x, y = torch.cat([smooth(0), smooth(1)]), torch.cat([smooth(2), smooth(1)])
    for measure in (paired.ssim, paired.edge_f_score, paired.structure, paired.correlation):
        both = measure(x, y)
        assert both.shape == (2,)
        assert both.tolist() == pytest.approx([float(measure(x[:1], y[:1])), 1], abs=1e-5)


@pytest.mark.parametrize(("contrast", "brightness"), [(1, 0.2), (0.4, 0), (0.3, -0.5)])
def test_a_change_of_tone_keeps_structure_edges_and_correlation(contrast: float, brightness: float) -> None:
    x = 0.7 * smooth(0)
    changed = contrast * x + brightness
    assert float(paired.structure(changed, x)) > 0.85  # what is faint already counts a little less
    assert float(paired.correlation(changed, x)) == pytest.approx(1, abs=1e-5)
    assert float(paired.edge_f_score(changed, x)) > 0.98
    assert float(paired.ssim(changed, x)) < 0.99


def test_a_picture_without_anything_in_it_keeps_no_structure() -> None:
    x = smooth(0)
    assert float(paired.structure(torch.zeros_like(x), x)) < 0.5


def test_an_inverted_picture_keeps_edges_but_not_structure() -> None:
    x = smooth(0)
    assert float(paired.structure(-x, x)) < -0.5
    assert float(paired.correlation(-x, x)) == pytest.approx(-1, abs=1e-5)
    assert float(paired.edge_f_score(-x, x)) > 0.98


def test_correlation_with_a_flat_picture_is_0() -> None:
    assert float(paired.correlation(torch.full((1, 3, 16, 16), 0.3), smooth(0, 16))) == pytest.approx(0, abs=1e-3)


def test_edges_may_lie_a_pixel_apart_but_not_elsewhere() -> None:
    x, y = smooth(0, 64), smooth(1, 64)
    shifted, further = x.roll(1, 3), x.roll(4, 3)
    assert float(paired.edge_f_score(shifted, x)) > 0.95
    assert float(paired.edge_f_score(further, x)) < 0.75
    assert float(paired.edge_f_score(y, x)) < 0.6


def test_edges_of_flat_pictures() -> None:
    flat, x = torch.full((1, 3, 32, 32), 0.3), smooth(0, 32)
    assert float(paired.edge_f_score(flat, -flat)) == 1
    assert float(paired.edge_f_score(flat, x)) == 0
    assert float(paired.edge_f_score(x, flat)) == 0


def test_edges_are_thin_lines_where_the_picture_changes() -> None:
    x = torch.zeros(1, 3, 32, 32)
    x[..., 12:] = 1
    found = paired.edges(x)[0, 0]
    assert set(found.nonzero()[:, 1].tolist()) <= {11, 12}
    assert found.sum(1).tolist() == [1] * 32
