"""Parts of training: pool, moving average, schedule, state, report, run folder."""

import io
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from cyclestyle.config import ConfigError, TrainConfig, check_config
from cyclestyle.training import run_folder
from cyclestyle.training import step as training_step
from cyclestyle.training.board import Board
from cyclestyle.training.ema import update_average
from cyclestyle.training.pool import ImagePool
from cyclestyle.training.report import Report, logging_to
from cyclestyle.training.run_folder import RunFolder, RunFolderError
from cyclestyle.training.schedule import HALF, halvings, rate_factor, total_steps, work
from cyclestyle.training.state import TrainState
from cyclestyle.training.step import TrainStep
from tests.helpers import differing, merged


def test_a_pool_passes_all_through_until_full_then_half_are_old() -> None:
    pool, rng = ImagePool(10), np.random.default_rng(0)
    given = [torch.full((1, 3, 2, 2), float(i)) for i in range(1010)]
    taken = [pool.query(image, rng) for image in given]
    assert all(torch.equal(a, b) for a, b in zip(given[:10], taken[:10], strict=True))
    old = sum(not torch.equal(a, b) for a, b in zip(given[10:], taken[10:], strict=True))
    assert 450 < old < 550
    assert len(pool.images) == 10


def test_earlier_pictures_are_drawn_from_a_pool_and_stay_there() -> None:
    pool, rng = ImagePool(3), np.random.default_rng(0)
    for value in range(3):
        pool.query(torch.full((1, 3, 2, 2), float(value)), rng)
    drawn = pool.draw(60, rng)
    assert drawn.shape == (60, 3, 2, 2)
    assert set(drawn.flatten().tolist()) == {0.0, 1.0, 2.0}
    assert len(pool.images) == 3


def test_discriminators_see_earlier_pictures_beside_the_new(tiny: dict[str, Any]) -> None:
    config = check_config(merged(tiny, {"train": {"replay": 3}}))
    state = TrainState(config, torch.device("cpu"), torch.float32)
    seen: list[torch.Tensor] = []
    step = TrainStep(state, config.loss, torch.float32)
    real = list(torch.rand(4, 2, 1, 3, 32, 32).half().float())  # which a pool keeps to the bit
    for number, (real_a, real_b) in enumerate(real):
        state.begin_step(1.0)
        watch = state.model.disc_a.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach().clone()))
        state.finish_step(step(real_a, real_b))
        watch.remove()
        of_discriminator = seen[-1]
        assert of_discriminator.shape == (8, 3, 32, 32), "new and earlier ones, real and translated"
        assert torch.equal(of_discriminator[:1], real_a)
        earlier = [a for a, _ in real[: number + 1]]
        assert all(any(torch.equal(x, a[0]) for a in earlier) for x in of_discriminator[1:4])
    old = TrainState(check_config(tiny), torch.device("cpu"), torch.float32)
    state.load_state_dict(old.state_dict())  # of a run without
    state.begin_step(1.0)
    state.finish_step(step(*real[0]))


def test_earlier_pictures_need_a_pool(tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"train.replay: 3 earlier .* set train.pool_size=50 too"):
        check_config(merged(tiny, {"train": {"replay": 3, "pool_size": 0}}))


def test_a_pool_of_size_0_keeps_nothing() -> None:
    pool, image = ImagePool(0), torch.zeros(2, 3, 2, 2)
    assert torch.equal(pool.query(image, np.random.default_rng(0)), image)
    assert pool.images == []


def test_the_average_moves_by_its_decay_and_faster_at_first() -> None:
    average, current = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    for step, kept in ((0, 0.1), (8, 0.5), (10**6, 0.99)):
        with torch.no_grad():
            average.weight.fill_(1.0)
            current.weight.fill_(0.0)
        update_average(average, current, 0.99, step)
        assert average.weight.detach().item() == pytest.approx(kept)


def rates(steps: int, epoch_length: int = 10, **options: Any) -> list[float]:
    train = TrainConfig.model_validate(options)
    assert total_steps(train, epoch_length) == steps
    return [rate_factor(train, epoch_length, step, steps) for step in range(steps)]


def test_the_rate_is_constant_then_falls_linearly_to_nearly_0_in_epochs() -> None:
    factors = rates(40, n_epochs=2, n_epochs_decay=2)
    assert factors[:20] == [1.0] * 20
    assert np.allclose(np.diff(factors[19:]), -1 / 21)
    assert factors[-1] == pytest.approx(1 / 21)


def test_the_length_can_be_given_in_steps() -> None:
    assert rates(10, max_steps=10)[:5] == [1.0] * 5
    assert rates(10, max_steps=10, decay_steps=0) == [1.0] * 10
    assert rates(10, max_steps=10, decay_steps=2)[7:] == pytest.approx([1, 2 / 3, 1 / 3])


def test_batches_shorten_an_epoch() -> None:
    rates(10, n_epochs=1, n_epochs_decay=3, batch_size=4)


def test_epochs_are_counted_in_samples_when_the_batch_size_changes_on_the_way() -> None:
    train = TrainConfig.model_validate({"n_epochs": 5, "n_epochs_decay": 5, "batch_size": 1})
    assert total_steps(train, 100, step=125, samples=500) == 125 + 500
    assert rate_factor(train, 100, 125, 625) == pytest.approx(500 / 501)
    train = TrainConfig.model_validate({"n_epochs": 5, "n_epochs_decay": 5, "batch_size": 4})
    assert total_steps(train, 100, step=500, samples=500) == 500 + 125


def state_after(config: Any, steps: int) -> TrainState:
    state = TrainState(config, torch.device("cpu"), torch.float32)
    torch.manual_seed(1)
    for _ in range(steps):
        state.begin_step(1.0)
        x = torch.rand(1, 3, 32, 32) * 2 - 1
        loss = {"a": state.model.gen_ab(x).square().mean() + state.model.gen_ba(x).square().mean()}
        state.update(state.optim_g, loss)
        state.update(state.optim_d, {"d": state.model.disc_a(x)[0].square().mean()})
        state.pools["disc_a"].query(x, state.random(0))
        state.finish_step(loss)
    return state


def test_a_state_comes_back_whole(tiny: dict[str, Any]) -> None:
    config = check_config(tiny)
    state = state_after(config, 3)
    other = TrainState(config, torch.device("cpu"), torch.float32)
    assert differing(state.state_dict(), other.state_dict())
    other.load_state_dict(state.state_dict())
    assert differing(state.state_dict(), other.state_dict()) == []
    assert other.step == 3


def test_the_average_is_what_translation_gets_and_is_apart_from_the_networks(tiny: dict[str, Any]) -> None:
    state = state_after(check_config(tiny), 3)
    assert state.average is not None
    assert differing(state.state_dict()["generators"]["gen_ab"], state.model.gen_ab.state_dict())
    plain = state_after(check_config(merged(tiny, {"train": {"ema": 0.0}})), 3)
    assert differing(plain.state_dict()["generators"]["gen_ab"], plain.model.gen_ab.state_dict()) == []


def board(run_dir: Path) -> EventAccumulator:
    events = EventAccumulator(str(run_dir / "tensorboard"))
    events.Reload()
    return events


def steps_of(run_dir: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def fill(report: Report, first: int, last: int) -> None:
    for step in range(first, last + 1):
        report.numbers(step, {"loss/x": step / 2})
        report.pictures(step, {"ab": np.zeros((4, 4, 3), np.uint8), "ba": np.ones((4, 4, 3), np.uint8)})


def test_a_report_that_goes_on_from_a_step_holds_each_step_once(tmp_path: Path, tiny: dict[str, Any]) -> None:
    config = check_config(tiny)
    report = Report(tmp_path, config, 0)
    fill(report, 1, 5)
    report.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed while writing
    report = Report(tmp_path, config, 3)
    fill(report, 4, 6)
    report.close()
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert [(e.step, e.value) for e in board(tmp_path).Scalars("loss/x")] == [(n, n / 2) for n in range(1, 7)]
    assert len(list((tmp_path / "samples").iterdir())) == 12
    assert "samples/ink to photo" in board(tmp_path).Tags()["images"]


def test_a_grid_is_on_the_board_as_it_lies_in_the_folder_even_a_damaged_one(
    tmp_path: Path, tiny: dict[str, Any]
) -> None:
    config = check_config(tiny)
    report = Report(tmp_path, config, 0)
    fill(report, 1, 2)
    report.close()
    cut, whole = (tmp_path / "samples" / f"0000000{n}_AtoB.jpg" for n in (1, 2))
    cut.write_bytes(cut.read_bytes()[:30])
    Report(tmp_path, config, 2).close()
    shown = board(tmp_path).Images("samples/ink to photo")
    assert [image.encoded_image_string for image in shown] == [cut.read_bytes(), whole.read_bytes()]
    assert (shown[1].width, shown[1].height) == (4, 4)


def test_a_closed_terminal_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    with logging_to(tmp_path / "log.txt"):
        logging.getLogger("cyclestyle").info("saved")
    assert "saved" in (tmp_path / "log.txt").read_text()


def test_of_the_samples_only_grids_of_later_steps_go_also_such_as_are_too_large_for_jpeg(
    tmp_path: Path, tiny: dict[str, Any]
) -> None:
    report, tall = Report(tmp_path, check_config(tiny), 0), np.zeros((65_501, 4, 3), np.uint8)
    for step in (1, 2):
        report.pictures(step, {"ab": tall, "ba": tall[:4]})
    report.close()
    mine = tmp_path / "samples" / "20260101_holiday.jpg"
    mine.write_bytes(b"mine")
    Report(tmp_path, check_config(tiny), 1).close()
    assert sorted(p.name for p in mine.parent.iterdir()) == ["00000001_AtoB.png", "00000001_BtoA.jpg", mine.name]
    [shown] = board(tmp_path).Images("samples/ink to photo")
    assert (shown.step, shown.width, shown.height) == (1, 4, 65_501)


def test_a_board_that_could_not_be_written_is_drawn_again(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Report(tmp_path, check_config(tiny), 0)
    fill(report, 1, 1)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Board, "_write", full)
        fill(report, 2, 3)
    fill(report, 4, 4)
    report.close()
    assert [e.step for e in board(tmp_path).Scalars("loss/x")] == [1, 2, 3, 4]


def test_a_pool_forgets_or_resizes_pictures_of_another_size() -> None:
    small, large = torch.arange(12.0).reshape(3, 1, 2, 2), torch.zeros(1, 1, 4, 4)
    for resized in (False, True):
        pool, rng = ImagePool(4, resized), np.random.default_rng(0)
        pool.query(small, rng)
        pool.query(large, rng)
        assert {image.shape for image in pool.images} == {large.shape}
        assert len(pool.images) == (4 if resized else 1)
        drawn = pool.draw(2, rng)
        assert (drawn.shape, drawn.dtype) == ((2, 1, 4, 4), torch.float32)
    averaged = torch.nn.functional.avg_pool2d(torch.cat(pool.images[:3]).float(), 2)
    assert torch.equal(averaged, small), "a coarser scale judges them as before"


def test_translations_are_remembered_at_a_new_size_and_real_pictures_are_not(tiny: dict[str, Any]) -> None:
    config = check_config(merged(tiny, {"train": {"replay": 1}}))
    state = TrainState(config, torch.device("cpu"), torch.float32)
    step = TrainStep(state, config.loss, torch.float32)
    for side in (16, 32):
        state.begin_step(1.0)
        state.finish_step(step(torch.rand(1, 3, side, side), torch.rand(1, 3, side, side)))
    kept = {name: [len(image[0, 0]) for image in pool.images] for name, pool in state.pools.items()}
    assert kept == {"disc_a": [32, 32], "disc_b": [32, 32], "real_a": [32], "real_b": [32]}


def test_steps_at_smaller_sizes_come_first_and_count_less(tiny: dict[str, Any]) -> None:
    train = check_config(merged(tiny, {"train": {"growth_steps": [2, 3], "max_steps": 8}})).train
    assert [halvings(train, step) for step in range(8)] == [2, 2, 1, 1, 1, 0, 0, 0]
    assert [work(train, steps) for steps in (1, 3, 8)] == pytest.approx(
        [HALF**2, 2 * HALF**2 + HALF, 3 + 2 * HALF**2 + 3 * HALF]
    )
    plain = check_config(tiny).train
    assert halvings(plain, 0) == 0
    assert work(plain, 7) == 7


def test_changed_betas_count_on_resume(tiny: dict[str, Any]) -> None:
    state = state_after(check_config(tiny), 1)
    other = TrainState(check_config(merged(tiny, {"train": {"beta1": 0.9}})), torch.device("cpu"), torch.float32)
    other.load_state_dict(state.state_dict())
    other.begin_step(1.0)
    assert other.optim_g.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_deleted_board_is_drawn_again(tmp_path: Path, tiny: dict[str, Any]) -> None:
    report = Report(tmp_path, check_config(tiny), 0)
    fill(report, 1, 2)
    shutil.rmtree(tmp_path / "tensorboard")
    fill(report, 3, 4)
    report.close()
    assert [e.step for e in board(tmp_path).Scalars("loss/x")] == [1, 2, 3, 4]


def test_entries_wait_while_the_disk_is_full(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Report(tmp_path, check_config(tiny), 0)
    fill(report, 1, 1)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cyclestyle.training.report._append", full)
        report.numbers(2, {"loss/x": 1.0})
    assert steps_of(tmp_path) == [1]
    report.numbers(3, {"loss/x": 1.5})
    report.close()
    assert steps_of(tmp_path) == [1, 2, 3]


def test_the_story_page_and_the_config_are_on_the_board(tmp_path: Path, tiny: dict[str, Any]) -> None:
    Report(tmp_path, check_config(tiny), 0).close()
    tags = board(tmp_path).Tags()["tensors"]
    assert "custom_scalars__config__" in tags
    assert "config/text_summary" in tags


def test_a_run_folder_serves_one_process_at_a_time(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "r"), pytest.raises(RunFolderError, match="in use by another process"):
        RunFolder(tmp_path / "r")
    with RunFolder(tmp_path / "r"):
        pass


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(run_folder.fcntl, "flock", no_locks)
    with pytest.raises(RunFolderError, match=r"its file system cannot lock files \(No locks available\)"):
        RunFolder(tmp_path / "r")


def test_a_folder_that_was_made_and_not_used_goes_away_and_others_stay(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "unused"):
        pass
    assert not (tmp_path / "unused").exists()
    (tmp_path / "mine").mkdir()
    with RunFolder(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").exists()
    with RunFolder(tmp_path / "used") as folder:
        (folder.path / "config.yaml").touch()
    assert (tmp_path / "used" / "config.yaml").exists()
    with RunFolder(tmp_path / "deleted") as folder:
        shutil.rmtree(folder.path)


@pytest.mark.parametrize(("there", "expected"), [("config.yaml", "holds a run already"), ("mine.txt", "is not empty")])
def test_a_folder_with_something_in_it_takes_no_new_run(tmp_path: Path, there: str, expected: str) -> None:
    (tmp_path / there).write_text("")
    with RunFolder(tmp_path) as folder, pytest.raises(RunFolderError, match=expected):
        folder.check_empty()


def test_a_step_has_cudnn_on_and_deterministic(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config, cudnn, found = check_config(tiny), torch.backends.cudnn, []
    real = training_step.generator_losses

    def look(*args: Any) -> Any:
        found.append((cudnn.enabled, cudnn.allow_tf32, cudnn.deterministic))
        return real(*args)

    monkeypatch.setattr(training_step, "generator_losses", look)
    state = TrainState(config, torch.device("cpu"), torch.float32)
    TrainStep(state, config.loss, torch.float32)(*torch.rand(2, 1, 3, 32, 32))
    assert found == [(True, True, True)]
    assert (cudnn.enabled, cudnn.allow_tf32, cudnn.deterministic) == (True, True, False)


@pytest.mark.parametrize(("first", "then"), [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)])
def test_moments_of_another_layout_are_taken_over_in_that_of_the_weights(
    tiny: dict[str, Any], first: torch.dtype, then: torch.dtype
) -> None:
    """Fused Adam would pair each weight with the moment of another."""
    config, cpu = check_config(tiny), torch.device("cpu")

    def learn(state: TrainState) -> None:
        for step in range(2):
            for p in state.generators.parameters():
                p.grad = torch.empty_like(p).copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(step)))
            state.optim_g.step()

    straight, half, resumed = (TrainState(config, cpu, dtype) for dtype in (first, first, then))
    learn(straight)
    learn(straight)
    learn(half)
    resumed.load_state_dict(half.state_dict())
    learn(resumed)
    for p, q in zip(straight.generators.parameters(), resumed.generators.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)
