"""What a run tells: metrics.jsonl, which is the record; samples/; the board that is drawn from both; and the log."""

import errno
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cyclestyle.config import Config
from cyclestyle.errors import UserError
from cyclestyle.files import atomic_write, whole_lines
from cyclestyle.images import write_image
from cyclestyle.training.board import Board
from cyclestyle.training.samples import sample_path, sample_paths

log = logging.getLogger("cyclestyle")


class Report:
    """Writes the numbers and pictures of a run that stands at `step`; later entries of an earlier sitting are dropped.

    A full disk or a deleted folder never ends the run: entries wait in memory until they can be written, and no
    checkpoint is saved before; grids are left out.
    """

    def __init__(self, run_dir: Path, config: Config, step: int) -> None:
        self._metrics, self._samples = run_dir / "metrics.jsonl", run_dir / "samples"
        self._waiting: list[str] = []
        self._drop_after(step)
        shutil.rmtree(run_dir / "tensorboard", ignore_errors=True)
        self._board = Board(run_dir / "tensorboard", config, self._metrics, self._samples)

    def go_back(self, step: int) -> None:
        """Forget what was told after `step`."""
        self._waiting = [line for line in self._waiting if json.loads(line)["step"] <= step]
        self._drop_after(step)
        self._board.draw()

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Add one entry; a name is `group/name`."""
        self._add({"step": step, "time": round(time.time(), 3), **values})

    def _add(self, record: dict[str, Any]) -> None:
        self._waiting.append(json.dumps(record) + "\n")
        try:
            self.write_waiting()
        except OSError as error:
            waiting = len(self._waiting)
            log.warning("%s cannot be written (%s); %d entries wait", self._metrics, error.strerror, waiting)
        self._board.numbers(record)

    def warnings(self, step: int, sentences: Mapping[str, str]) -> None:
        """Tell of faults, by name, in the log and as entries `warning/NAME`."""
        for sentence in sentences.values():
            log.warning("step %d: %s", step, sentence)
        if sentences:
            self._add({"step": step, "time": round(time.time(), 3)} | {f"warning/{n}": s for n, s in sentences.items()})

    def pictures(self, step: int, grids: dict[str, np.ndarray]) -> None:
        """Keep the grids of `ab` and `ba`, uint8 (H, W, 3)."""
        for direction, picture in grids.items():
            path = sample_path(self._samples, step, direction, picture)
            try:
                write_image(path, picture)
            except OSError as error:
                log.warning("%s cannot be written: %s", path, error.strerror or error)
            else:
                self._board.picture(path)

    def write_waiting(self) -> None:
        """Write the entries that wait.

        Raises:
            OSError: they cannot be written, and go on waiting.
        """
        if self._waiting:
            try:
                _append(self._metrics, "".join(self._waiting).encode())
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self._metrics)) from None
        self._waiting.clear()

    def close(self) -> None:
        with suppress(OSError):
            self.write_waiting()
        self._board.close()

    def _drop_after(self, step: int) -> None:
        """Forget what an earlier sitting wrote after `step`, and the half line that a kill may have left."""
        if self._metrics.exists():
            kept = [line for line in whole_lines(self._metrics) if line["step"] <= step]
            with atomic_write(self._metrics) as file:
                file.writelines(json.dumps(line).encode() + b"\n" for line in kept)
        for path in sample_paths(self._samples):
            if int(path.stem[:8]) > step:
                path.unlink()


def _append(path: Path, content: bytes) -> None:
    """Add to a file all or nothing."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


class _QuietFile(logging.FileHandler):
    """A log file whose disk may be full: the terminal has the same lines."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the name is logging's
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class _AboveTheBar(logging.Handler):
    """Prints log lines without breaking the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # a terminal that was closed must not end the run
            tqdm.write(self.format(record), file=sys.stderr)


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Send the log to `path` (all of it, with times) and to the terminal (without details)."""
    details = _QuietFile(path, encoding="utf-8")
    details.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    terminal = _AboveTheBar(logging.INFO)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for handler in (details, terminal):
        log.addHandler(handler)
    try:
        yield
    except UserError as error:
        details.handle(
            log.makeRecord(log.name, logging.ERROR, __file__, 0, str(error), (), None)
        )  # the command prints it
        raise
    finally:
        for handler in (details, terminal):
            log.removeHandler(handler)
            handler.close()
