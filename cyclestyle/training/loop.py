"""The whole of a training run, in one function that is read from top to bottom."""

import contextlib
import itertools
import logging
import os
import resource
import shlex
import signal
import sys
import time
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from tqdm import tqdm

from cyclestyle.checkpoint import CheckpointError, read_model, save_checkpoint
from cyclestyle.config import Config, ConfigError
from cyclestyle.cyclegan import CycleGAN
from cyclestyle.data.loader import Batch, batches
from cyclestyle.data.unpaired import UnpairedData
from cyclestyle.devices import check_compiler, pick_device, pick_precision
from cyclestyle.errors import UserError
from cyclestyle.memory import keep_freed_memory
from cyclestyle.training.detectors import EARLIEST
from cyclestyle.training.memory import check_memory, out_of_memory_told
from cyclestyle.training.quality import Quality, describe_best, evaluate, out_of_patience
from cyclestyle.training.recovery import go_back, what_diverged
from cyclestyle.training.report import Report, logging_to
from cyclestyle.training.run_folder import RunFolder
from cyclestyle.training.samples import Samples
from cyclestyle.training.schedule import describe_length, halvings, rate_factor, total_steps, work
from cyclestyle.training.state import TrainState
from cyclestyle.training.step import TrainStep

log = logging.getLogger("cyclestyle")
PAUSE, LAST_TRIES = 30, 120  # seconds between tries to save the end of a run, and their number
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"


def train(config: Config, run_dir: Path, device_name: str = "auto", resume: bool = False) -> int:
    """Train a CycleGAN from the first step, or the last checkpoint, to the end.

    Args:
        run_dir: gets config.yaml, metrics.jsonl, log.txt, samples/, checkpoints/ and tensorboard/.
        device_name: auto, cpu, cuda or mps.
        resume: go on with the run in `run_dir`; without it the folder must be empty.

    Returns:
        exit status: 0 for a run that is complete, 128 + signal for one that was stopped and saved.

    Raises:
        UserError: anything the user can mend, before training starts where it can be known.
    """
    with contextlib.ExitStack() as stack:
        # What can be wrong is found before anything is written.
        device = pick_device(device_name)
        dtype = pick_precision(config.train.precision, device)
        if config.train.compile:
            check_compiler(device)
        folder = stack.enter_context(RunFolder(run_dir))
        if not resume:
            folder.check_empty()
        _check_sizes(config)
        plenty = check_memory(config, device, dtype)
        if device.type == "cpu":
            keep_freed_memory(plenty)
        state = TrainState(config, device, dtype)
        data = UnpairedData(config.data, config.seed)
        samples, quality = Samples(config), Quality(config, device)

        # A new run, or the old one where it stood.
        total = _stand(config, state, data, folder, resume)
        folder.write_config(config)
        stack.enter_context(logging_to(run_dir / "log.txt"))
        report = stack.enter_context(contextlib.closing(Report(run_dir, config, state.step)))
        folder.notes += samples.problems + quality.problems
        stopped = stack.enter_context(_stop_signals())
        _announce(config, folder, data, state.step, total, f"{device.type} in {str(dtype).removeprefix('torch.')}")

        new_step = partial(TrainStep, state, config.loss, dtype, config.train.compile)
        halved = halvings(config.train, state.step)
        loader, train_step = _loader(data, state, config), new_step(halvings=halved)
        stack.callback(lambda: loader.close())
        next_save = _next(state.step, config.train.save_every_steps)
        bar = tqdm(total=total, initial=state.step, unit="step", disable=None, dynamic_ncols=True, bar_format=BAR)
        stack.enter_context(bar)
        save = partial(_save, folder, config, state, report, stopped)

        while state.step < total and not stopped and not out_of_patience(config, state):
            state.begin_step(rate_factor(config.train, data.epoch_length(), state.step, total))
            try:
                real_a, real_b = (batch.to(device, non_blocking=True) for batch in next(loader))
            except UserError:  # a picture is gone
                save(must=True)
                raise
            if (times := halvings(config.train, state.step)) != halved:
                halved, train_step = times, new_step(halvings=times)  # which is for batches of one size
                log.info("step %d: pictures of %d pixels from here on", state.step, config.data.crop_size >> times)
            if halved:
                real_a, real_b = (F.avg_pool2d(batch, 2**halved) for batch in (real_a, real_b))

            with out_of_memory_told(config):
                state.finish_step(train_step(real_a, real_b))
            bar.set_postfix_str(f"{_time_left(config, state, total)} left", refresh=False)
            bar.update()

            # Tell, measure, show, keep; or go back.
            last = state.step == total
            due = _due(config, state.step, data.epoch_length(), state.step >= next_save, last)
            if any(due.values()) and what_diverged(state):
                loader.close()
                sentence = go_back(folder, config, state, partial(_first_state, config, device, dtype))
                report.go_back(state.step)
                report.warnings(state.step, {"diverged": sentence})
                loader, train_step = _loader(data, state, config), new_step(halvings=halved)
                next_save = _next(state.step, config.train.save_every_steps)
                bar.reset(total)
                bar.update(state.step)
                continue
            if due["log"]:
                _log_numbers(report, state, state.step / total, _time_left(config, state, total))
            if due["evaluate"] and quality.split:
                evaluate(state, quality, report, folder.checkpoints if due["best"] else None, config, dtype)
            if due["sample"]:
                report.pictures(state.step, samples.draw(state.best_generators, state.model.stride, dtype))
            if due["save"]:
                next_save = save(must=last)

        bar.close()  # its last state stays above the lines that follow
        if state.step < total:
            save(must=True)
        if stopped and state.step < total:
            go_on = f"python train.py --run-dir {shlex.quote(str(run_dir))} --resume"
            log.info("stopped at step %d of %d and saved; go on: %s", state.step, total, go_on)
            return 128 + stopped[0]
        ended = "complete" if state.step == total else "stopped early"
        log.info("%s: %d steps; %s", ended, state.step, describe_best(state))
        log.info("use it: %s", _how_to_use(run_dir, config))
        return 0


def _stand(config: Config, state: TrainState, data: UnpairedData, folder: RunFolder, resume: bool) -> int:
    """Bring `state` to where the run stands; returns the number of steps of the whole run."""
    saved = folder.read_state(config) if resume else None
    if saved is not None:
        state.load_state_dict(saved)
    elif config.train.init_from:
        _start_from(config.train.init_from, config, state)
    state.pictures = data.fingerprint()
    if saved is not None and saved.get("pictures", state.pictures) != state.pictures:
        folder.notes.append("the training pictures are others than at the checkpoint; going on with those of now")
    total = total_steps(config.train, data.epoch_length(), state.step, state.samples)
    if state.step > total:
        option = _length_option(config)
        raise ConfigError(f"{option}: the run has {state.step} steps behind it, {total} are asked for; raise it")
    if sum(growth := config.train.growth_steps) >= total:
        option = _length_option(config)
        raise ConfigError(
            f"train.growth_steps: {growth} leave none of {total} steps at full size; lower them or raise {option}"
        )
    return total


def _first_state(config: Config, device: torch.device, dtype: torch.dtype) -> TrainState:
    """What a run begins with."""
    state = TrainState(config, device, dtype)
    if config.train.init_from:
        _start_from(config.train.init_from, config, state)
    return state


def _loader(data: UnpairedData, state: TrainState, config: Config) -> Generator[Batch, None, None]:
    """Batches from where the run stands."""
    data.retries = state.retries
    on_gpu = next(state.model.parameters()).is_cuda
    return batches(data, state.samples, config.train.batch_size, config.data.workers, on_gpu)


def _announce(config: Config, folder: RunFolder, data: UnpairedData, step: int, total: int, where: str) -> None:
    for line in [*folder.notes, *(f"left out: {line}" for line in data.skipped)]:
        log.warning(line)
    (count_a, count_b), (name_a, name_b) = map(len, data.paths), config.data.names
    log.info("%s: %d %s and %d %s pictures, on %s", folder.path, count_a, name_a, count_b, name_b, where)
    length = describe_length(config.train, data.epoch_length(), total)
    log.info("from step %d to %s; progress: %s", step, length, folder.path / "log.txt")
    if times := halvings(config.train, step):
        log.info("pictures of %d pixels at first (train.growth_steps)", config.data.crop_size >> times)
    if step == total:
        log.info("nothing is left to do; to go on, raise %s", _length_option(config))
    if config.train.compile and step < total:
        log.info("compiling the networks within the first step, which takes minutes")
    log.info("watch: tensorboard --logdir %s", shlex.quote(str(folder.path)))


def _check_sizes(config: Config) -> None:
    """Whether crops pass through the networks, at the smallest size that they have in the run."""
    side, times = config.data.crop_size, len(config.train.growth_steps)
    least = side >> times
    grows = f" (train.growth_steps begins with {least}; train.growth_steps=[] with all of it)" if times else ""
    with torch.no_grad(), FakeTensorMode():  # nothing but shapes is computed
        model = CycleGAN(config.model)
        if side % (model.stride << times):
            raise ConfigError(f"data.crop_size: {side} is not a multiple of {model.stride << times}{grows}")
        crop = torch.empty(1, 3, least, least)
        try:
            model.disc_a(crop, times)
        except (RuntimeError, ValueError):  # nothing is left of so small a picture
            name = config.model.discriminator.name
            raise ConfigError(
                f"data.crop_size: {side} is too small for the {name}; raise it, or lower its layers or scales "
                f"(model.discriminator){grows}"
            ) from None


def _length_option(config: Config) -> str:
    return "train.max_steps" if config.train.max_steps else "train.n_epochs"


def _start_from(path: str, config: Config, state: TrainState) -> None:
    try:
        trained = read_model(Path(path))
    except CheckpointError as error:
        raise ConfigError(f"train.init_from: {error}") from None
    if (names := trained.config.data.names) == config.data.names[::-1]:
        raise ConfigError(f"train.init_from: {trained.path} has the domains the other way round, data.names={names}")
    try:
        for nets in filter(None, (state.generators, state.average)):
            for name, net in nets.items():
                net.load_state_dict(trained.generators[name])
    except (RuntimeError, KeyError):
        other = trained.config.model.generator
        raise ConfigError(
            f"train.init_from: {trained.path} holds other generators ({other}); set model.generator alike"
        ) from None


def _how_to_use(run_dir: Path, config: Config) -> str:
    name_a, name_b = map(shlex.quote, config.data.names)
    return f"python -m cyclestyle.translate {shlex.quote(str(run_dir))} PICTURES -o OUT --to {name_b} (or {name_a})"


def _next(step: int, every: int) -> int:
    return step - step % every + every


def _due(config: Config, step: int, epoch: int, save: bool, last: bool) -> dict[str, bool]:
    """What follows on a step; towards the end of the first epoch there is a measurement more, for warnings."""
    every = config.report.evaluate_every_steps
    first = min(every, max(EARLIEST, epoch // config.train.batch_size))
    best = bool(every) and (step % every == 0 or last)
    return {
        "log": step % config.report.log_every_steps == 0 or last,
        "evaluate": best or (bool(every) and step == first),
        "best": best,
        "sample": step % config.report.sample_every_steps == 0 or last,
        "save": save or last,
    }


def _time_left(config: Config, state: TrainState, total: int) -> str:
    share = work(config.train, state.step) / work(config.train, total)
    return tqdm.format_interval(state.seconds * (1 / share - 1))


def _log_numbers(report: Report, state: TrainState, share: float, left: str) -> None:
    """One entry."""
    means, steps, seconds = state.take_means()
    pace = steps * state.batch_size / seconds
    values = {"learning_rate": state.rate, "pictures_per_second": pace, "memory_gib": _memory_gib(state)}
    report.numbers(state.step, means | {f"train/{name}": value for name, value in values.items()})
    report.warnings(state.step, state.watch.look_at_losses(means))
    losses = "  ".join(f"{n.removeprefix('loss/')} {v:.3f}" for n, v in means.items() if n.startswith("loss/"))
    log.debug("step %d (%.0f %%)  %s  %.2f pictures/s  %s left", state.step, 100 * share, losses, pace, left)


def _memory_gib(state: TrainState) -> float:
    """Peak memory of the GPU, or of the process."""
    device = next(state.model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _save(
    folder: RunFolder,
    config: Config,
    state: TrainState,
    report: Report,
    stopped: list[int],
    must: bool,
) -> int:
    """Write a checkpoint; returns the step of the next. One that `must` succeed waits for room, up to an hour.

    The numbers of its steps are written before it, so that none is missing when the run goes on from there.
    """
    if bad := what_diverged(state):
        raise UserError(
            f"{', '.join(bad)} has diverged: step {state.step} is not saved; --resume goes on from the last checkpoint"
        )
    for attempt in itertools.count(1):
        try:
            report.write_waiting()
            path = save_checkpoint(folder.checkpoints, config, state.state_dict(), config.train.keep_last)
            break
        except (CheckpointError, OSError) as error:
            if not must:
                retry = min(100, config.train.save_every_steps)
                log.error("%s; training goes on and tries again in %d steps", error, retry)
                return state.step + retry
            log.error("%s; make room: trying again every %d seconds (Ctrl-C gives up)", error, PAUSE)
            signals = len(stopped)
            until = time.monotonic() + PAUSE
            while time.monotonic() < until and len(stopped) == signals:
                time.sleep(min(1, PAUSE))
            if attempt == LAST_TRIES or len(stopped) > signals:
                any_saved = (folder.checkpoints / "latest.pt").exists()
                kept = "--resume goes on from the last checkpoint" if any_saved else "nothing was saved yet"
                raise CheckpointError(f"{error}; {kept}") from None
    log.info("step %d: saved %s", state.step, path)
    return _next(state.step, config.train.save_every_steps)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that gets the number of SIGINT or SIGTERM when one arrives; a second SIGINT interrupts at once."""
    told = b"\nsaving and stopping; Ctrl-C again stops without saving\n"
    stopped: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if stopped and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopped.append(number)
        with contextlib.suppress(OSError):
            os.write(2, told)  # a log line may be half written just now

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
