"""Tiles: the same picture as in one pass, whatever is kept where."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from cyclestyle.checkpoint import TrainedModel
from cyclestyle.config import check_config
from cyclestyle.cyclegan import CycleGAN
from cyclestyle.errors import UserError
from cyclestyle.images import to_pixels, to_tensor
from cyclestyle.nets import GENERATORS
from cyclestyle.nets.stages import Statistics, run_stages
from cyclestyle.translate import maps
from cyclestyle.translate import translator as translator_module
from cyclestyle.translate.maps import FileMap, MachineMap, MemoryMap, Part, Room
from cyclestyle.translate.style import Style
from cyclestyle.translate.tiles import Tiles
from cyclestyle.translate.translator import Translator

CPU = torch.device("cpu")
VARIANTS: list[dict[str, Any]] = [
    {},
    {"upsample": "resize", "norm": "group"},
    {"upsample": "bilinear", "norm": "group", "skips": True},
    {"upsample": "bilinear", "norm": "instance", "skips": True},
    {"upsample": "transpose", "norm": "none", "skips": True},
    {"upsample": "bilinear", "norm": "group", "skips": True, "anchored": True, "padding": "reflect"},
    {"upsample": "resize", "norm": "instance", "anchored": True},
]


def generator(options: dict[str, Any], name: str = "resnet") -> torch.nn.Module:
    """With weights so large that it answers as a trained one does, not with grey."""
    torch.manual_seed(0)
    net = GENERATORS[name](channels=16, blocks=3, **options)
    for module in net.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            torch.nn.init.orthogonal_(module.weight)
    return net.eval().requires_grad_(False)


def landscape(height: int, width: int) -> np.ndarray:
    """Smooth, with a bright and a dark end, so that statistics differ from place to place."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (height // 15, width // 15, 3), dtype=np.uint8) // 2
    smooth = np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
    return smooth + np.linspace(0, 120, width).astype(np.uint8)[:, None]


@pytest.fixture
def difference(tmp_path: Path) -> Iterator[Any]:
    """Draws where two pictures differ, 50 times as strong, and returns by how much they do at most."""

    def draw(one: np.ndarray, other: np.ndarray) -> int:
        differs = np.abs(one.astype(int) - other)
        Image.fromarray((differs * 50).clip(0, 255).astype(np.uint8)).save(tmp_path / "difference.png")
        return int(differs.max())

    yield draw
    assert (tmp_path / "difference.png").stat().st_size


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_the_stages_of_a_generator_do_what_it_does(name: str, options: dict[str, Any]) -> None:
    net, picture = generator(options, name), to_tensor(landscape(64, 96))
    assert torch.equal(run_stages(net.stages(), picture), net(picture))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("room", [Room(10**9), Room(0, 10**9), Room(0)], ids=["memory", "machine", "files"])
def test_tiles_give_what_one_pass_gives(options: dict[str, Any], room: Room, difference: Any, tmp_path: Path) -> None:
    net, picture = generator(options), landscape(300, 420)
    whole = to_pixels(net(to_tensor(picture)))[0]
    assert whole.std() > 10
    steps: list[None] = []
    tiles = Tiles(net.stages(), picture, 96, CPU, torch.float32)
    made = tiles.translate(room, tmp_path, to_pixels, lambda: steps.append(None))
    assert difference(made, whole) <= 1
    assert len(steps) == tiles.work
    assert np.array_equal(to_pixels(net(to_tensor(picture)))[0], whole), "norms are as they were"


def test_tiles_with_statistics_of_their_own_would_not(difference: Any) -> None:
    """However wide their margins are."""
    net, picture = generator(VARIANTS[2]), landscape(300, 420)
    whole = to_pixels(net(to_tensor(picture)))[0]
    made = np.empty_like(picture)
    for left in range(0, 420, 140):
        first = max(0, left - 64)
        tile = to_pixels(net(to_tensor(picture[:, first : left + 204])))[0]
        made[:, left : left + 140] = tile[:, left - first : left - first + 140]
    assert difference(made, whole) > 10


@pytest.mark.parametrize("groups", [None, 2])
def test_statistics_of_parts_are_those_of_the_whole(groups: int | None) -> None:
    x = torch.randn(1, 6, 50, 40, generator=torch.Generator().manual_seed(0)) + torch.arange(6)[:, None, None] * 100
    statistics = Statistics()
    for part in (x[:, :, :7], x[:, :, 7:, :11], x[:, :, 7:, 11:].contiguous(memory_format=torch.channels_last)):
        statistics.add(part)
    mean, variance = statistics.of_groups(groups)
    each = x.double().view(groups or 6, -1)
    torch.testing.assert_close(mean, each.mean(1).repeat_interleave(6 // (groups or 6)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        variance, each.var(1, correction=0).repeat_interleave(6 // (groups or 6)), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_maps_in_files_are_as_those_in_memory(dtype: torch.dtype, tmp_path: Path) -> None:
    shape = 5, 20, 30
    all_kinds = MemoryMap(shape, dtype, CPU), MachineMap(shape, dtype), FileMap(shape, dtype, tmp_path)
    values = torch.randn(1, 5, 20, 30, generator=torch.Generator().manual_seed(0)).to(dtype)
    for kept in all_kinds:
        kept.write(Part(0, 20, 0, 30), values)
        kept.write(Part(3, 9, 4, 6), values[:, :, :6, :2])
    values[:, :, 3:9, 4:6] = values[:, :, :6, :2].clone()
    for kept in all_kinds:
        assert torch.equal(kept.read(Part(2, 19, 3, 30)), values[:, :, 2:19, 3:])
        kept.close()
    assert not list(tmp_path.iterdir()), "nobody has to clear it away"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_comes_from_a_gpu_for_a_map_is_in_one_piece(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be copied, and reordered on the CPU, part by part."""
    arrived: list[torch.Tensor] = []
    monkeypatch.setattr(maps, "_fast_to_copy", lambda cells: arrived.append(cells) or cells)
    values = torch.zeros(1, 8, 20, 30, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kept = MachineMap((8, 20, 30), torch.float16)
    kept.write(Part(2, 10, 3, 9), Part(1, 9, 2, 8).of(values))
    assert arrived[0].is_contiguous(memory_format=torch.channels_last)
    assert arrived[0].dtype == torch.float16


def trained(tiny: dict[str, Any]) -> TrainedModel:
    config = check_config(tiny)
    generators = CycleGAN(config.model).generators
    return TrainedModel(config, 7, {n: net.state_dict() for n, net in generators.items()}, Path("model"))


def test_a_side_of_tiles_can_be_chosen(tiny: dict[str, Any], difference: Any) -> None:
    picture = landscape(203, 150)
    model = trained(tiny)
    tiled, whole = (Translator(model, device="cpu", precision="fp32", tile=tile) for tile in (65, "off"))
    assert difference(tiled(picture), whole(picture)) <= 1
    assert whole.tiling(picture) is None
    assert "in tiles of 68 pixels, with 1 MiB of memory; one pass" in str(tiled.tiling(picture))
    assert tiled.tiling(picture[:68, :60]) is None


def test_tiles_are_taken_where_one_pass_would_need_half_of_the_memory(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, difference: Any
) -> None:
    auto = Translator(trained(tiny), device="cpu", precision="fp32")
    picture = landscape(203, 150)
    whole = auto(picture)
    monkeypatch.setattr(translator_module, "TILE", 64)
    assert auto.tiling(picture) is None
    monkeypatch.setattr(translator_module, "free_memory", lambda device: 1.9 * auto._memory(picture[None]))
    assert "in tiles of 64 pixels" in str(auto.tiling(picture))
    assert difference(auto(picture), whole) <= 1
    assert difference(auto.batch([picture, picture])[1], whole) <= 1


def test_a_gpu_takes_larger_tiles_and_half_of_its_free_memory(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = Translator(trained(tiny), device="cpu", precision="fp32", style=Style("native"))
    auto.device = torch.device("cuda")  # only a plan is made
    auto.__dict__["_bytes_a_pixel"] = 2000.0
    picture = np.empty((7500, 13300, 3), np.uint8)

    def told(of_gpu: float, of_machine: float = 0) -> str:
        free = {"cuda": of_gpu, "cpu": of_machine}
        monkeypatch.setattr(translator_module, "free_memory", lambda device: round(free[device.type] * 2**30))
        return str(auto.tiling(picture))

    assert "in tiles of 512 pixels, with 0.6 GiB of the GPU's memory; one" in told(5)
    assert "in tiles of 1024 pixels, with 0.6 GiB of the GPU's memory; one" in told(8)
    with monkeypatch.context() as patch:
        patch.setattr(translator_module, "ROOM", 2**28)
        assert "in tiles of 1024 pixels, with 0.2 GiB of the GPU's memory and 0.4 GiB of the machine's" in told(8, 8)
    assert "with 0.2 GiB of the GPU's memory and a scratch file of 0.4 GiB" in told(0.5)
    assert "with 0.2 GiB of the GPU's memory and 0.4 GiB of the machine's; one" in told(0.5, 1)
    assert "0.2 GiB of the GPU's memory and 0.2 GiB of the machine's and a scratch file of 0.4 GiB" in told(0.5, 0.6)


def test_a_scratch_file_is_announced_and_must_have_room(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    translator = Translator(trained(tiny), device="cpu", precision="fp32", tile=64)
    assert translator.scratch == Path(tempfile.gettempdir())
    translator.scratch = tmp_path
    monkeypatch.setattr(translator_module, "ROOM", 0)
    assert f"with a scratch file of 1 MiB in {tmp_path}; one pass would need" in str(
        translator.tiling(landscape(99, 99))
    )
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"needed there for a scratch file, 1 MiB are free; free some space, or"):
        translator(landscape(99, 99))


def test_a_disk_that_is_full_meanwhile_is_told(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    translator = Translator(trained(tiny), device="cpu", precision="fp32", tile=64)
    translator.scratch = tmp_path
    monkeypatch.setattr(translator_module, "ROOM", 0)
    refuses = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    for call, gives in (("posix_fallocate", refuses), ("pwrite", Mock(return_value=0))):
        with monkeypatch.context() as full:
            full.setattr(os, call, gives)
            with pytest.raises(UserError, match=r"scratch file cannot be kept there: No space left on device; free"):
                translator(landscape(99, 99))
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    assert translator(landscape(99, 99)).shape == (99, 99, 3)


def test_weights_that_are_not_numbers_are_told_of_in_tiles_too(tiny: dict[str, Any]) -> None:
    model = trained(tiny)
    for weights in model.generators["gen_ab"].values():
        weights.fill_(torch.nan)
    with pytest.raises(UserError, match="not a number"):
        Translator(model, device="cpu", tile=64)(landscape(99, 99))


@pytest.mark.parametrize("tile", [63, 0, -5, "big", "64.5"])
def test_other_sides_are_refused(tiny: dict[str, Any], tile: int | str) -> None:
    with pytest.raises(UserError, match="is not a choice; accepted: auto, off, or a side of 64 pixels or more"):
        Translator(trained(tiny), tile=tile)
