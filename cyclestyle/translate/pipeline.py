"""Many files: the next is read and the last is written while the network is busy."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import numpy as np
from tqdm import tqdm

from cyclestyle.commands import printable
from cyclestyle.errors import UserError
from cyclestyle.provenance import Provenance
from cyclestyle.translate.reading import Frame, Source
from cyclestyle.translate.sources import Job
from cyclestyle.translate.translator import Translator
from cyclestyle.translate.transparency import fill_hidden
from cyclestyle.translate.video import translate_video
from cyclestyle.translate.video_options import VideoOptions, is_video
from cyclestyle.translate.writing import Kept, write_frames

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Settings:
    """How files are read and written.

    Attributes:
        batch_size: pictures of one size that go through the network together.
        most: pixels that a picture may have.
        quality: 1 to 100, of formats that lose something.
        provenance: written into every file; None: into none.
        video: how clips are translated.
    """

    batch_size: int
    most: int
    quality: int
    provenance: Provenance | None
    video: VideoOptions = field(default_factory=VideoOptions)


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
        except BaseException:
            for executor in (reader, writer):
                executor.shutdown(wait=False, cancel_futures=True)
            raise
        return work.failed


class _Work:
    def __init__(
        self, translator: Translator, settings: Settings, writer: ThreadPoolExecutor, bar: "tqdm[NoReturn]"
    ) -> None:
        self._translator, self._settings, self._writer, self._bar = translator, settings, writer, bar
        self._group: list[_Loaded] = []
        self._writing: deque[Future[str | None]] = deque()
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
        return self._translator.padded_shape(loaded.only.pixels), loaded.only.pixels.dtype

    def _translate_group(self) -> None:
        """Single pictures: one pass for all, written while the next are translated."""
        group, self._group = self._group, []
        if not group:
            return
        frames = [loaded.only for loaded in group if loaded.only]
        for loaded, frame in zip(group, frames, strict=True):
            if told := self._translator.tiling(frame.pixels):
                self._bar.write(printable(f"{loaded.job.source}: {told}"))
        try:
            made = self._translate(frames)
        except UserError as error:
            for loaded in group:
                loaded.source.close()
                self._done(f"{loaded.job.source}: {error}")
            return
        for loaded, frame in zip(group, made, strict=True):
            self._writing.append(self._writer.submit(self._write, loaded, [frame]))
        self._settle(self._settings.batch_size)

    def _translate_frames(self, loaded: _Loaded) -> None:
        """An animation: frame by frame, as the encoder asks for them."""
        self._settle(0)
        frames = (frame for one in loaded.source.frames() for frame in self._translate([one]))
        self._done(self._write(loaded, frames))

    def _translate_clip(self, job: Job) -> None:
        def translate(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [frame.pixels for frame in self._translate([Frame(pixels) for pixels in pictures])]

        try:
            self._done(translate_video(translate, self._translator, job, self._settings))
        except UserError as error:
            self._done(str(error))

    def _translate(self, frames: Sequence[Frame]) -> list[Frame]:
        shown = [f.pixels if f.alpha is None else fill_hidden(f.pixels, f.alpha) for f in frames]
        made = self._translator.batch(shown)
        return [Frame(pixels, frame.alpha) for pixels, frame in zip(made, frames, strict=True)]

    def _write(self, loaded: _Loaded, frames: Iterable[Frame]) -> str | None:
        """Write a translation; or a line that says what is wrong."""
        source, target = loaded.source, loaded.job.target
        xmp = self._settings.provenance.packet() if self._settings.provenance else b""
        kept = Kept(
            source.exif, xmp, source.dpi, source.milliseconds, source.loop, source.lossless, self._settings.quality
        )
        with source:
            try:
                write_frames(target, frames, kept)
            except OSError as error:
                return f"{target}: cannot be written: {error.strerror or error}"
            except UserError as error:
                return str(error)
        return None

    def _settle(self, at_most: int) -> None:
        while len(self._writing) > at_most:
            self._done(self._writing.popleft().result())

    def _done(self, error: str | None) -> None:
        if error:
            self._bar.write(printable(f"failed: {error}"), file=sys.stderr)
            self.failed += 1
        self._bar.update()


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
