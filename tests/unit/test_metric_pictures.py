"""What pictures are described by, and what generators add."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from cyclestyle.data.synthetic import draw_ink, draw_photo
from cyclestyle.images import to_tensor
from cyclestyle.metrics.artefacts import droplets, lattice_energy
from cyclestyle.metrics.descriptors import (
    PATCH,
    RandomFeatures,
    directions,
    laplacian_pyramid,
    pyramid_patches,
    to_lab,
)
from cyclestyle.metrics.filters import blur, gaussian
from tests.helpers import landscapes


def waves(side: int = 32) -> Tensor:
    """(1, 3, side, side): smooth waves, the same everywhere."""
    rows, columns = np.mgrid[:side, :side]
    picture = np.stack([np.sin(columns / 3), np.cos(rows / 5), np.sin((rows + columns) / 4)])
    return torch.from_numpy(picture[None]).float()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


@pytest.mark.parametrize(
    ("colour", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
        ((60, 60, 60), (25.32, 0, 0)),
        ((5, 5, 5), (1.37, 0, 0)),  # in the linear part
    ],
)
def test_cielab_of_known_colours(colour: tuple[int, ...], lab: tuple[float, ...]) -> None:
    found = to_lab(to_tensor(np.array([[colour]], np.uint8)))
    assert found.flatten().tolist() == pytest.approx(lab, abs=0.02)


def test_blur_is_that_of_scipy() -> None:
    x = noise(1, 2, 20, 24)
    expected = gaussian_filter(x.numpy(), 1.5, mode="mirror", radius=5, axes=(2, 3))
    assert torch.allclose(blur(x, gaussian(1.5, 5)), torch.from_numpy(expected), atol=1e-6)
    assert torch.allclose(blur(x, gaussian(1.5, 5), padded=False), blur(x, gaussian(1.5, 5))[..., 5:-5, 5:-5])


@pytest.mark.parametrize(("side", "scales"), [(31, [31]), (32, [32, 16]), (70, [70, 35, 18]), (128, [128, 64, 32, 16])])
def test_a_pyramid_adds_up_to_its_picture(side: int, scales: list[int]) -> None:
    x = noise(1, 3, side, side)
    levels = laplacian_pyramid(x)
    assert [level.shape[2] for level in levels] == scales
    found = levels.pop()
    while levels:
        level = levels.pop()
        spread = torch.zeros_like(level)
        spread[:, :, ::2, ::2] = 4 * found
        found = level + blur(spread, [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16])
    assert torch.allclose(found, x, atol=1e-5)


def test_scales_of_a_pyramid_hold_what_is_of_their_size() -> None:
    rows = torch.arange(64.0).expand(1, 3, 64, 64)
    strength = [
        [float(level[..., 4:-4, 4:-4].std()) for level in laplacian_pyramid(torch.sin(rows * 2 * torch.pi / wave))]
        for wave in (2.5, 8, 32)
    ]
    assert [np.argmax(levels) for levels in strength] == [0, 1, 2]


def test_patches_are_cuts_of_the_picture_at_many_places() -> None:
    x = noise(2, 3, 12, 20)  # so small that its pyramid has one scale
    [patches] = pyramid_patches(x, seed=0)
    assert patches.shape == (2, 128, 3 * PATCH * PATCH)
    for picture, found in zip(x, patches, strict=True):
        cuts = {
            tuple(picture[:, i : i + PATCH, j : j + PATCH].flatten().tolist()): (i, j)
            for i in range(12 - PATCH + 1)
            for j in range(20 - PATCH + 1)
        }
        places = {cuts[tuple(patch.tolist())] for patch in found}  # a KeyError where a patch is no cut
        assert len(places) > 50
        assert {i for i, _ in places} == set(range(6))
        assert {j for _, j in places} == set(range(14))
    assert torch.equal(patches, pyramid_patches(x, seed=0)[0])
    assert not torch.equal(patches, pyramid_patches(x, seed=1)[0])


def test_directions_have_length_1_and_point_everywhere() -> None:
    found = directions(147, 500, seed=3)
    assert found.shape == (147, 500)
    assert torch.allclose(found.norm(dim=0), torch.ones(500))
    assert float((found @ found.T * 147 / 500 - torch.eye(147)).abs().max()) < 0.4
    assert not torch.equal(found, directions(147, 500, seed=4))


def test_random_features_are_the_same_numbers_everywhere() -> None:
    found = RandomFeatures()(waves())[0]
    assert len(found) == 1440
    pinned = {0: -0.03169, 7: 0.15354, 100: 1.06005, 700: -0.34755, 1000: -0.03617, 1439: -2.43812}
    assert [float(found[i]) for i in pinned] == pytest.approx(list(pinned.values()), abs=1e-3)


def test_random_features_have_one_length_and_do_not_depend_on_the_batch() -> None:
    features = RandomFeatures()
    x = torch.cat([noise(9, 3, 32, 32, seed=1) * 0.3, waves(), torch.zeros(1, 3, 32, 32)])
    found = features(x)
    assert torch.allclose(found.norm(dim=1), torch.full((11,), 1440**0.5))
    assert torch.allclose(found[9:10], features(waves()), atol=1e-4)
    assert torch.allclose(found.flip(0), features(x.flip(0)), atol=1e-4)
    assert not torch.allclose(found, RandomFeatures(seed=1)(x), atol=0.5)


def checker(stride: int) -> Tensor:
    """(side, side) of amplitude 1: the pure frequency of a lattice."""
    wave = torch.cos(2 * torch.pi * torch.arange(64) / stride)
    return torch.outer(wave, wave)


@pytest.mark.parametrize(("stride", "raised", "other"), [(2, 0, 1), (4, 1, 0)])
def test_a_planted_checkerboard_raises_its_energy_and_not_the_other(stride: int, raised: int, other: int) -> None:
    real = to_tensor(landscapes(draw_photo, 0, count=3, size=64))
    plain, *planted = (lattice_energy(real + level * checker(stride)).mean(0) for level in (0, 0.01, 0.03, 0.1))
    rises = [float(found[raised] - plain[raised]) for found in planted]
    assert rises == sorted(rises)
    assert rises[0] > 0.3
    assert rises[2] > 3
    assert all(abs(float(found[other] - plain[other])) < 0.1 for found in planted)


@pytest.mark.parametrize("picture", ["white noise", "falling spectrum", "flat", "landscapes"])
def test_pictures_without_a_lattice_have_no_energy_of_one(picture: str) -> None:
    x = noise(8, 3, 64, 64)
    spectrum = torch.fft.fft2(x) / (0.02 + torch.fft.fftfreq(64).abs() + torch.fft.fftfreq(64).abs()[:, None])
    found = {
        "white noise": x,
        "falling spectrum": torch.fft.ifft2(spectrum).real,
        "flat": torch.full((1, 3, 64, 64), 0.3),
        "landscapes": to_tensor(landscapes(draw_ink, 0, count=6, size=64)),
    }[picture]
    assert lattice_energy(found).mean(0).tolist() == pytest.approx([0, 0], abs=3)


def test_a_lattice_is_told_of_each_picture_alone() -> None:
    x = torch.stack([waves(64)[0], waves(64)[0] + 0.1 * checker(2)])
    found = lattice_energy(x)
    assert found.shape == (2, 2)
    assert torch.allclose(found[1:], lattice_energy(x[1:]), atol=1e-4)
    assert found[1, 0] > found[0, 0] + 6


def with_spots(x: Tensor, places: list[tuple[int, int]], colour: int) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(x.shape[2]), torch.arange(x.shape[3]), indexing="ij")
    for row, column in places:
        x = torch.where((rows - row) ** 2 + (columns - column) ** 2 <= (x.shape[2] / 32) ** 2, colour, x)
    return x


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("colour", [1, -1])
def test_planted_droplets_are_counted_and_those_of_the_source_are_not(side: int, colour: int) -> None:
    source = 0.1 * waves(side).repeat(2, 1, 1, 1) - 0.4 * colour
    places = [(side // 5, side // 4), (side // 2, side // 2), (4 * side // 5, side // 3)]
    spotted = with_spots(source, places, colour)
    assert droplets(torch.stack([spotted[0], source[1]]), source).tolist() == [3, 0]
    assert droplets(spotted, spotted).tolist() == [0, 0]
    assert droplets(spotted, with_spots(source, places[1:], colour)).tolist() == [1, 1]


def test_landscapes_have_no_droplets() -> None:
    ink, photo = (to_tensor(landscapes(draw, 0, count=6, size=64)) for draw in (draw_ink, draw_photo))
    assert droplets(ink, photo).sum() == 0
