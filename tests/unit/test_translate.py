"""Translation in Python: any size, exactly the same size out."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cyclestyle
from cyclestyle.checkpoint import TrainedModel, save_checkpoint
from cyclestyle.config import check_config
from cyclestyle.cyclegan import CycleGAN
from cyclestyle.devices import pick_precision
from cyclestyle.errors import UserError
from cyclestyle.images import prepare_image, to_pixels, to_tensor
from cyclestyle.training.state import TrainState
from cyclestyle.translate import translator as translator_module
from tests.helpers import merged


@pytest.fixture(scope="module")
def state(tiny: dict[str, Any]) -> TrainState:
    return TrainState(check_config(tiny), torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def run_dir(tiny: dict[str, Any], state: TrainState, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_checkpoint(folder / "checkpoints", check_config(tiny), state.state_dict(), keep_last=1)
    return folder


def skip_without(precision: str) -> None:
    try:
        pick_precision(precision, torch.device("cpu"))
    except UserError as error:
        pytest.skip(str(error))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 41), (64, 64), (200, 33)])
def test_any_size_comes_out_exactly_the_same(run_dir: Path, size: tuple[int, int]) -> None:
    result = cyclestyle.Translator.load(run_dir)(noise(*size))
    assert result.shape == (*size, 3)
    assert result.dtype == np.uint8


@pytest.mark.parametrize(("direction", "net"), [("AtoB", "gen_ab"), ("BtoA", "gen_ba")])
def test_a_picture_goes_through_the_generator_of_its_direction(
    run_dir: Path, state: TrainState, direction: str, net: str
) -> None:
    picture = noise(48, 64)
    with torch.no_grad():
        expected = to_pixels(state.best_generators[net](to_tensor(picture)))[0]
    translator = cyclestyle.Translator.load(run_dir, direction, precision="fp32")
    assert np.abs(translator(picture).astype(int) - expected).max() <= 1


def test_pictures_are_prepared_as_those_of_their_domain_were_in_training(
    tiny: dict[str, Any], run_dir: Path, state: TrainState, tmp_path: Path
) -> None:
    config = check_config(tiny | {"data": tiny["data"] | {"prepare": {"A": {"autocontrast": 2}}}})
    save_checkpoint(tmp_path / "checkpoints", config, state.state_dict(), keep_last=1)
    picture = noise(41, 50) // 2
    for direction, prepared in (("AtoB", prepare_image(picture, config.data, "A")), ("BtoA", picture)):
        expected = cyclestyle.Translator.load(run_dir, direction)(prepared)
        assert np.array_equal(cyclestyle.Translator.load(tmp_path, direction)(picture), expected)
    assert not np.array_equal(prepare_image(picture, config.data, "A"), picture)


def test_the_target_can_be_named(run_dir: Path) -> None:
    assert cyclestyle.Translator.load(run_dir, to="ink").direction == "BtoA"
    assert cyclestyle.Translator.load(run_dir, to="photo").direction == "AtoB"
    assert cyclestyle.Translator.load(run_dir).target == "photo"
    with pytest.raises(UserError, match="has no domain 'phto'; did you mean 'photo'"):
        cyclestyle.Translator.load(run_dir, to="phto")


def test_16_bit_are_translated_as_8_and_finer(run_dir: Path) -> None:
    translator = cyclestyle.Translator.load(run_dir, device="cpu", precision="fp32")
    coarse = translator(noise(48, 64))
    fine = translator(noise(48, 64).astype(np.uint16) * 257)
    assert fine.dtype == np.uint16
    assert np.abs(fine / 257 - coarse).max() < 0.51
    assert len(np.unique(fine)) > 256
    both = translator.batch([noise(48, 64), noise(48, 64).astype(np.uint16) * 257])
    assert [picture.dtype for picture in both] == [np.uint8, np.uint16]


def test_pictures_that_were_never_resized_in_training_are_not_for_their_translation(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    for resize in ("none", "short"):
        config = check_config(merged(tiny, {"data": {"resize": resize}}))
        save_checkpoint(
            tmp_path / resize, config, TrainState(config, torch.device("cpu"), torch.float32).state_dict(), keep_last=1
        )
        path = next((tmp_path / resize).glob("latest.safetensors"))
        translator = cyclestyle.Translator.load(path, style=cyclestyle.Style("train"))
        assert translator.size_seen(noise(200, 120)) == ((200, 120) if resize == "none" else (68, 40))


def test_large_pictures_are_reduced_for_the_network_unless_told_otherwise(run_dir: Path) -> None:
    photo, scroll, video = (np.broadcast_to(np.uint8(0), (*s, 3)) for s in ((3000, 4000), (800, 9000), (1080, 1920)))
    translator = cyclestyle.Translator.load(run_dir)
    assert translator.size_seen(photo) == (1080, 1440)
    assert translator.size_seen(scroll) == (800, 9000)
    assert translator.size_seen(video) == (1080, 1920)
    assert cyclestyle.Translator.load(run_dir, style=cyclestyle.Style("native")).size_seen(photo) == (3000, 4000)


def test_a_batch_of_mixed_sizes_equals_one_by_one(run_dir: Path) -> None:
    translator = cyclestyle.Translator.load(run_dir, precision="fp32")
    pictures = [noise(40, 40), noise(33, 50), noise(40, 38), noise(40, 40)[::-1].copy()]
    for picture, result in zip(pictures, translator.batch(pictures), strict=True):
        assert result.shape == picture.shape
        assert np.abs(result.astype(int) - translator(picture)).max() <= 1


def test_a_picture_that_does_not_fit_into_memory_is_named(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translator_module, "free_memory", lambda device: 1000)
    with pytest.raises(UserError, match=r"1 x 64x48 pixels need about \d MiB of memory and 1 MiB are free"):
        cyclestyle.Translator.load(run_dir)(noise(48, 64))
    monkeypatch.undo()

    monkeypatch.setattr(translator_module, "to_tensor", full)
    with pytest.raises(UserError, match="of memory, more than there is"):
        cyclestyle.Translator.load(run_dir, tile="off")(noise(48, 64))


def full(*_: object) -> torch.Tensor:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")


def test_where_memory_runs_out_tiles_get_smaller(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = noise(280, 200)
    whole = cyclestyle.Translator.load(run_dir, precision="fp32")(picture)
    tried: list[int] = []
    in_tiles = cyclestyle.Translator._in_tiles

    def that_needs_small_ones(self: cyclestyle.Translator, picture: np.ndarray, core: int) -> np.ndarray:
        tried.append(core)
        return in_tiles(self, picture, core) if core <= 128 else full()

    monkeypatch.setattr(translator_module, "to_tensor", full)  # of one pass
    monkeypatch.setattr(cyclestyle.Translator, "_in_tiles", that_needs_small_ones)
    translator = cyclestyle.Translator.load(run_dir, precision="fp32")
    tiled = translator(picture)
    assert tried == [256, 128], "512 would be one tile"
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    assert "memory has run out; again in tiles of 128 pixels, with " in capsys.readouterr().out
    assert "in tiles of 128 pixels" in str(translator.tiling(picture))
    assert np.array_equal(translator(picture), tiled)
    assert tried == [256, 128, 128], "the next of its size does not begin anew"
    monkeypatch.setattr(cyclestyle.Translator, "_in_tiles", full)
    with pytest.raises(UserError, match="of memory, more than there is; free some, or take a smaller scale"):
        cyclestyle.Translator.load(run_dir)(picture)


def test_where_memory_does_not_do_for_a_batch_pictures_go_one_by_one(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = cyclestyle.Translator.load(run_dir, precision="fp32")
    pictures = [noise(96, 96), noise(96, 96)[::-1].copy()]
    expected = translator.batch(pictures)
    to_tensor = translator_module.to_tensor

    tried: list[int] = []

    def of_one(batch: np.ndarray, device: torch.device) -> torch.Tensor:
        tried.append(len(batch))
        return to_tensor(batch, device) if len(batch) == 1 else full()

    monkeypatch.setattr(translator_module, "to_tensor", of_one)
    monkeypatch.setattr(cyclestyle.Translator, "_in_tiles", None)
    for _ in range(2):
        made = translator.batch(pictures)
        assert max(np.abs(m.astype(int) - e).max() for m, e in zip(made, expected, strict=True)) <= 1
    assert tried == [2, 1, 1, 1, 1]


def test_pictures_smaller_than_a_tile_go_in_smaller_ones_where_one_pass_does_not_fit(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator, picture = cyclestyle.Translator.load(run_dir, precision="fp32"), noise(200, 300)
    needed = translator._memory(picture[None])
    monkeypatch.setattr(translator_module, "free_memory", lambda device: 1.1 * needed)
    assert translator.tiling(picture) is None
    monkeypatch.setattr(translator_module, "free_memory", lambda device: 0.9 * needed)
    assert "in tiles of 256 pixels" in str(translator.tiling(picture))


@pytest.mark.parametrize(("precision", "most", "mean"), [("fp32", 1, 0.01), ("bf16", 20, 1.2)])
def test_fast_paths_translate_as_the_plain_network_does(
    tiny: dict[str, Any], precision: str, most: float, mean: float
) -> None:
    """Wide enough for Winograd's convolution; compared in float64."""
    skip_without(precision)
    config = check_config(tiny | {"model": tiny["model"] | {"generator": {"channels": 32, "blocks": 3}}})
    nets = CycleGAN(config.model).generators
    picture = noise(260, 256)
    translator = cyclestyle.Translator(
        TrainedModel(config, 0, {n: net.state_dict() for n, net in nets.items()}, Path()), "AtoB", "cpu", precision
    )
    with torch.no_grad():
        plain = to_pixels(nets["gen_ab"].double()(to_tensor(picture[None]).double()).float())[0]
    difference = np.abs(translator(picture).astype(float) - plain)
    assert difference.max() <= most
    assert difference.mean() < mean


def test_pictures_of_16_bit_are_computed_in_fp32(run_dir: Path) -> None:
    skip_without("bf16")
    deep = noise(64, 64).astype(np.uint16) * 257
    auto, fine, fast = (
        cyclestyle.Translator.load(run_dir, device="cpu", precision=p) for p in ("auto", "fp32", "bf16")
    )
    made = auto.batch([noise(64, 64), deep])
    assert np.array_equal(made[0], fast(noise(64, 64)))
    assert np.array_equal(made[1], fine(deep))
    assert not np.array_equal(made[1], fast(deep))


MEASURE_PEAK = """
import re, sys
import numpy as np, torch
import cyclestyle, cyclestyle.translate.translator
def kib(name):  # not ru_maxrss, which begins at that of the parent process
    return int(re.search(name + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1])
torch.set_num_threads(1)
translator = cyclestyle.Translator.load(sys.argv[1], device="cpu", precision=sys.argv[2], tile="off")
# So much that it suffices, and that nothing is kept for speed.
needed = translator._memory(np.zeros((1024, 1024, 3), np.uint8))
cyclestyle.translate.translator.free_memory = lambda device: 1.5 * needed
before = kib("RssAnon")
translator(np.zeros((1024, 1024, 3), np.uint8))
print(kib("VmHWM") - kib("RssFile") - before, needed / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize(("upsample", "skips"), [("transpose", False), ("bilinear", True)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_memory_that_a_picture_is_said_to_need_is_what_it_takes(
    tiny: dict[str, Any], tmp_path: Path, upsample: str, skips: bool, precision: str
) -> None:
    generator = {"channels": 32, "blocks": 1, "upsample": upsample, "skips": skips}
    config = check_config(tiny | {"model": tiny["model"] | {"generator": generator}})
    state = TrainState(config, torch.device("cpu"), torch.float32)
    save_checkpoint(tmp_path / "checkpoints", config, state.state_dict(), keep_last=1)
    words = [sys.executable, "-c", MEASURE_PEAK, tmp_path, precision]
    skip_without(precision)
    taken, said = map(float, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    assert 0.9 * said < taken < 1.05 * said


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(run_dir: Path, bad: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"a picture is uint8 or uint16 \(height, width, 3\), not"):
        cyclestyle.Translator.load(run_dir)(bad)


def test_what_is_no_array_is_refused_with_the_way_to_make_one(run_dir: Path) -> None:
    with pytest.raises(UserError, match=r"an array, not str; np.asarray\(Image.open"):
        cyclestyle.Translator.load(run_dir)("photo.jpg")  # type: ignore[arg-type]
