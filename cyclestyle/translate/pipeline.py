"""Many files: the next is read and the last is written while the network is busy."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
from tqdm import tqdm

from cyclestyle.commands import printable
from cyclestyle.errors import UserError
from cyclestyle.memory import is_out_of_memory
from cyclestyle.provenance import Provenance
from cyclestyle.translate.reading import Frame, Source
from cyclestyle.translate.sources import Job
from cyclestyle.translate.translator import Translator
from cyclestyle.translate.transparency import fill_hidden
from cyclestyle.translate.video import translate_video
from cyclestyle.translate.video_options import VideoOptions, is_video
from cyclestyle.translate.writing import holds_frames, not_held, write_frames

Item = TypeVar("Item")
Result = TypeVar("Result")

TOO_LARGE = "more memory is needed than there is; end other programs, or make it smaller"


@dataclass(frozen=True)
class Settings:
    """How files are read and written.

    Attributes:
        batch_size: pictures of one size that go through the network together.
        most: pixels that a picture may have.
        quality: 1 to 100, of formats that lose something; None as of `write_frames`.
        provenance: written into every file; None: into none.
        compare: write source and translation side by side.
        back: takes translations back, for jobs that ask for it, or to be the third side by side.
        video: how clips are translated.
        keep: files of a job that are there already stay.
        overwrite: write over files that are there, whenever they came.
    """

    batch_size: int
    most: int
    quality: int | None
    provenance: Provenance | None
    compare: bool = False
    back: Translator | None = None
    video: VideoOptions = field(default_factory=VideoOptions)
    keep: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class _Loaded:
    """A file that was opened, and its frame if it has only one."""

    job: Job
    source: Source
    only: Frame | None


def translate_files(translator: Translator, jobs: Sequence[Job], settings: Settings) -> int:
    """Translate in order, neighbours of one size together; reports what fails and goes on. Returns how many failed."""
    with (
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(1) as writer,
        tqdm(total=len(jobs), unit="file", disable=None) as bar,
    ):
        work = _Work(translator, settings, writer, bar)
        try:
            for loaded in _ahead(reader, work.load, jobs, settings.batch_size):
                work.take(loaded)
            work.finish()
        except BaseException as error:
            for executor in (reader, writer):
                executor.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt) and len(jobs) > 1 and not settings.overwrite:
                bar.write("what is written stays; --skip-existing goes on with the rest", file=sys.stderr)
            raise
        return work.failed


class _Work:
    def __init__(
        self, translator: Translator, settings: Settings, writer: ThreadPoolExecutor, bar: "tqdm[NoReturn]"
    ) -> None:
        self._translator, self._settings, self._writer, self._bar = translator, settings, writer, bar
        self._group: list[_Loaded] = []
        self._writing: deque[Future[str | None]] = deque()
        self._said: set[tuple[Path, str]] = set()
        self.failed = 0

    def load(self, job: Job) -> _Loaded | Job | str:
        """Open a file and decode it, if it has one frame; a clip as it is; or a line that says what is wrong."""
        if is_video(job.source):
            return job
        try:
            source = Source(job.source, self._settings.most)
            try:
                return _Loaded(job, source, next(source.frames()) if source.count == 1 else None)
            except UserError:
                source.close()
                raise
        except UserError as error:
            return str(error)

    def take(self, loaded: _Loaded | Job | str) -> None:
        """Translate what was loaded, now or together with what follows."""
        if isinstance(loaded, str):
            self._done(loaded)
            return
        if isinstance(loaded, Job):
            self.finish()
            self._translate_clip(loaded)
            return
        if self._group and (
            len(self._group) == self._settings.batch_size or self._kind(loaded) != self._kind(self._group[0])
        ):
            self._translate_group()
        self._group.append(loaded)
        if loaded.only is None:
            self._translate_frames(self._group.pop())

    def finish(self) -> None:
        """Translate what is left, and wait until all is written."""
        self._translate_group()
        self._settle(0)

    def _kind(self, loaded: _Loaded) -> object:
        if loaded.only is None:
            return loaded
        return self._translator.size_seen(loaded.only.pixels), loaded.only.pixels.dtype

    def _translate_group(self) -> None:
        """Single pictures: one pass for all, written while the next are translated."""
        group, self._group = self._group, []
        if not group:
            return
        frames = [loaded.only for loaded in group if loaded.only]
        for loaded, frame in zip(group, frames, strict=True):
            self._tell_of(loaded, frame)
        try:
            made = self._translate(frames)
        except UserError as error:
            for loaded in group:
                loaded.source.close()
                self._done(f"{loaded.job.source}: {error}")
            return
        for loaded, shown in zip(group, made, strict=True):
            self._writing.append(self._writer.submit(self._write, loaded, [[frame] for frame in shown]))
        self._settle(self._settings.batch_size)

    def _translate_frames(self, loaded: _Loaded) -> None:
        """An animation: frame by frame, as the encoder asks for them."""
        self._settle(0)
        target = loaded.job.target
        if not holds_frames(target):
            self._say(loaded.job, "frames", f"is of {loaded.source.count} frames, {target.suffix} holds the first")
        files = range(len(loaded.job.files))
        self._done(self._write(loaded, [self._frames(loaded, file) for file in files]))

    def _frames(self, loaded: _Loaded, file: int) -> Iterator[Frame]:
        """Those of one of the files of a job."""
        for frame in loaded.source.frames():
            self._tell_of(loaded, frame)
            try:
                made = self._translate([frame], file > 0)
            except UserError as error:
                raise UserError(f"{loaded.job.source}: {error}") from None
            yield made[0][file]

    def _translate_clip(self, job: Job) -> None:
        """A clip: one pass for each of the files of its job."""
        told = None
        try:
            for number, (file, target) in enumerate(self._unwritten(job)):
                settings = replace(self._settings, provenance=self._origin(file))
                translate = partial(self._translate_shots, job, file)
                told = translate_video(translate, self._translator, job.source, target, settings, number == 0)
            self._done(told)
        except UserError as error:
            self._done(str(error))

    def _translate_shots(self, job: Job, file: int, frames: Sequence[Frame]) -> list[Frame]:
        self._tell_tiling(job, frames[0].pixels)
        return [shown[file] for shown in self._translate(frames, file > 0)]

    def _translate(self, frames: Sequence[Frame], back: bool = True) -> list[list[Frame]]:
        """For each frame what its files show: the translation, and the way back if that goes into a file of its own.

        Args:
            back: whether what that file shows is wanted.
        """
        with _told_if_out_of_memory():
            sources = [f.pixels if f.alpha is None else fill_hidden(f.pixels, f.alpha) for f in frames]
            made = [sources, self._translator.batch(sources)]
            if self._settings.back and (back or self._settings.compare):
                made.append(self._settings.back.batch(made[1]))
            alphas = [frame.alpha for frame in frames]
            if self._settings.compare:
                return [[_side_by_side(shown, alpha)] for *shown, alpha in zip(*made, alphas, strict=True)]
            return [[Frame(p, alpha) for p in shown] for *shown, alpha in zip(*made[1:], alphas, strict=True)]

    def _write(self, loaded: _Loaded, files: Sequence[Iterable[Frame]]) -> str | None:
        """Write the files of a job; or a line that says what is wrong."""
        with loaded.source as source:
            for file, path in self._unwritten(loaded.job):
                origin, settings = self._origin(file), self._settings
                try:
                    write_frames(path, files[file], source.about, origin, settings.quality, settings.overwrite)
                except OSError as error:
                    return f"{path}: cannot be written: {error.strerror or error}"
                except MemoryError:
                    return f"{path}: {TOO_LARGE}"
                except UserError as error:
                    return str(error)
        return None

    def _unwritten(self, job: Job) -> list[tuple[int, Path]]:
        """The files of a job that are to be written, with their numbers; the translation last."""
        files = [(file, path) for file, path in enumerate(job.files) if not (self._settings.keep and path.exists())]
        return files[::-1]

    def _origin(self, file: int) -> Provenance | None:
        """What one of the files of a job says of its origin."""
        origin = self._settings.provenance
        return origin.and_back() if origin and file else origin

    def _tell_of(self, loaded: _Loaded, frame: Frame) -> None:
        """How a frame will be translated if not in one pass, and what its translation cannot keep."""
        job, source = loaded.job, loaded.source
        self._tell_tiling(job, frame.pixels)
        if source.cut:
            self._say(job, "bits", "has {} bits a channel, of which {} are read".format(*source.cut))
        if lost := not_held(job.target, frame, source.about):
            self._say(job, "lost", f"has {' and '.join(lost)}, which {job.target.suffix} does not hold")

    def _tell_tiling(self, job: Job, pixels: np.ndarray) -> None:
        if (job.source, "tiles") not in self._said and (told := self._translator.tiling(pixels)):
            self._say(job, "tiles", told)

    def _say(self, job: Job, topic: str, text: str) -> None:
        """Write a line, on one topic once for all frames of an animation or clip."""
        if (job.source, topic) not in self._said:
            self._bar.write(printable(f"{job.source}: {text}"))
            self._said.add((job.source, topic))

    def _settle(self, at_most: int) -> None:
        while len(self._writing) > at_most:
            self._done(self._writing.popleft().result())

    def _done(self, error: str | None) -> None:
        if error:
            self._bar.write(printable(f"failed: {error}"), file=sys.stderr)
            self.failed += 1
        self._bar.update()


@contextmanager
def _told_if_out_of_memory() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        raise UserError(TOO_LARGE) from None


def _side_by_side(pictures: Sequence[np.ndarray], alpha: np.ndarray | None) -> Frame:
    """Pictures of one size in a row, with gaps of white."""
    gap = max(2, pictures[0].shape[1] // 200 * 2)  # an even side stays even, as clips like it
    gaps = ((0, 0), (0, gap), (0, 0))
    white = np.iinfo(pictures[0].dtype).max
    row = np.concatenate([np.pad(p, gaps, constant_values=white) for p in pictures], 1)[:, :-gap]
    if alpha is not None:
        alpha = np.concatenate([np.pad(alpha, gaps[:2], constant_values=white)] * len(pictures), 1)[:, :-gap]
    return Frame(row, alpha)


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Iterator[Result]:
    """Results in order; the next `count` are computed meanwhile."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
