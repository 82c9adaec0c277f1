"""Translation in Python: any size, exactly the same size out, and which file goes where."""

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
from cyclestyle.provenance import Provenance
from cyclestyle.training.state import TrainState
from cyclestyle.translate import translator as translator_module
from cyclestyle.translate.sources import find_jobs, make_folders
from tests.helpers import merged

PROVENANCE = Provenance("ab" * 32, "BtoA", "photo to ink")


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
    with pytest.raises(UserError, match=r"1 x 64x48 pixels need about 0.0 GiB of memory and 0.0 are free"):
        cyclestyle.Translator.load(run_dir)(noise(48, 64))
    monkeypatch.undo()

    def full(pictures: np.ndarray) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")

    monkeypatch.setattr(translator_module, "to_tensor", full)
    with pytest.raises(UserError, match="of memory, more than there is"):
        cyclestyle.Translator.load(run_dir)(noise(48, 64))


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
        (album / name).write_bytes(b"earlier" + PROVENANCE.packet())
    left = [name for name in whole if name not in made]
    assert targets([str(album)], album, existing="skip", shard=shard, **options) == left
    with pytest.raises(UserError, match=r"is an input and would be overwritten"):
        find_jobs([str(album)], album, existing="overwrite", **options)


def test_an_original_that_has_the_name_of_a_translation_is_not_taken_for_one(album: Path) -> None:
    inputs = [str(album / name) for name in ("lake.bmp", "lake.png")]
    for path in inputs:
        Path(path).write_bytes(b"an original")
    for existing in ("refuse", "skip"):
        with pytest.raises(UserError, match=r"lake\.png: is an input|would both become"):
            find_jobs(inputs, album, existing=existing)


def test_a_shard_that_begins_late_does_not_take_translations_of_others_for_inputs(album: Path) -> None:
    whole = targets([str(album)], album, ending="_ink")
    (album / whole[0]).write_bytes(b"made by the first" + PROVENANCE.packet())
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
    (album / "deep" / "three.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"three\.png and .*three\.bmp would both become"):
        find_jobs([str(album)], album.parent / "other")


def test_an_input_through_a_link_is_not_overwritten_either(album: Path) -> None:
    out = album.parent / "out"
    out.mkdir()
    (out / "one.jpg").symlink_to(album / "one.jpg")
    with pytest.raises(UserError, match="is an input and would be overwritten"):
        find_jobs([str(album / "one.jpg")], out, existing="overwrite")


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [("nowhere", "no such file or folder"), ("*.xyz", "no file matches"), ("empty", "holds no pictures")],
)
def test_inputs_that_do_not_exist_are_named(
    tmp_path: Path, inputs: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=expected):
        find_jobs([inputs], tmp_path / "out")
