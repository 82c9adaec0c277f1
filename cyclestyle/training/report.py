"""What a run tells: metrics.jsonl, which is the record; samples/; and TensorBoard, which is drawn from both."""

import errno
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from cyclestyle.config import Config
from cyclestyle.errors import UserError
from cyclestyle.files import atomic_write
from cyclestyle.images import write_image
from cyclestyle.training.samples import sample_path

log = logging.getLogger("cyclestyle")

# The page "Custom scalars": the story of a run in six charts.
STORY = {
    "at a glance": {
        "adversarial: both generators": ["Multiline", [r"^loss/adversarial_(ab|ba)$"]],
        "cycle: is the picture still in there?": ["Multiline", [r"^loss/cycle_(ab|ba)$"]],
        "identity: are colours kept?": ["Multiline", [r"^loss/identity_(ab|ba)$"]],
        "discriminator of A: scores (apart: it wins; equal: it is fooled)": [
            "Multiline",
            [r"^score/disc_a_(real|fake)$"],
        ],
        "discriminator of B: scores (apart: it wins; equal: it is fooled)": [
            "Multiline",
            [r"^score/disc_b_(real|fake)$"],
        ],
        "learning rate": ["Multiline", [r"^train/learning_rate$"]],
    }
}


class Report:
    """Writes the numbers and pictures of a run that stands at `step`; later entries of an earlier sitting are dropped.

    A full disk or a deleted folder never ends the run: entries wait in memory until they can be written.
    """

    def __init__(self, run_dir: Path, config: Config, step: int) -> None:
        self._metrics, self._samples = run_dir / "metrics.jsonl", run_dir / "samples"
        self._board = run_dir / "tensorboard"
        self._config, self._names = config, config.data.names
        self._waiting: list[str] = []
        self._drop_after(step)
        shutil.rmtree(self._board, ignore_errors=True)
        self._writer = self._open_board()

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Add one entry; a name is `group/name`."""
        record = {"step": step, "time": round(time.time(), 3), **values}
        self._waiting.append(json.dumps(record) + "\n")
        try:
            _append(self._metrics, "".join(self._waiting).encode())
            self._waiting.clear()
        except OSError as error:
            waiting = len(self._waiting)
            log.warning("%s cannot be written (%s); %d entries wait", self._metrics, error.strerror, waiting)
        self._to_board(lambda writer: _add_numbers(writer, record))

    def pictures(self, step: int, grids: dict[str, np.ndarray]) -> None:
        """Keep the grids of `ab` and `ba`, uint8 (H, W, 3)."""
        for direction, picture in grids.items():
            path = sample_path(self._samples, step, direction)
            try:
                write_image(path, picture)
            except OSError as error:
                log.warning("%s cannot be written: %s", path, error.strerror)
            self._to_board(partial(_add_picture, tag=self._tag(path), picture=picture, step=step, when=time.time()))
        self._to_board(lambda writer: writer.flush())

    def close(self) -> None:
        self._to_board(lambda writer: writer.close())

    def _drop_after(self, step: int) -> None:
        """Forget what an earlier sitting wrote after `step`, and the half line that a kill may have left."""
        if self._metrics.exists():
            kept = [line for line in _whole_lines(self._metrics) if line["step"] <= step]
            with atomic_write(self._metrics) as file:
                file.writelines(json.dumps(line).encode() + b"\n" for line in kept)
        for path in self._samples.glob("*.png"):
            if path.stem[:8].isdigit() and int(path.stem[:8]) > step:
                path.unlink()

    def _open_board(self) -> SummaryWriter:
        """Start TensorBoard's folder anew from metrics.jsonl and samples/."""
        writer = SummaryWriter(str(self._board), flush_secs=30)
        writer.add_custom_scalars(STORY)
        config = yaml.safe_dump(self._config.model_dump(), sort_keys=False)
        writer.add_text("config", f"```yaml\n{config}```")
        for record in _whole_lines(self._metrics) if self._metrics.exists() else []:
            _add_numbers(writer, record)
        for path in sorted(self._samples.glob("*.png")):
            if path.stem[:8].isdigit():
                picture = np.asarray(Image.open(path).convert("RGB"))
                _add_picture(writer, self._tag(path), picture, int(path.stem[:8]), path.stat().st_mtime)
        writer.flush()
        return writer

    def _to_board(self, add: Callable[[SummaryWriter], object]) -> None:
        try:
            if not self._board.is_dir() or not any(self._board.iterdir()):
                log.warning("%s was deleted; drawn again from metrics.jsonl and samples/", self._board)
                self._writer = self._open_board()
            else:
                add(self._writer)
        except Exception as error:  # the event writer re-raises whatever went wrong in its thread
            log.warning("TensorBoard cannot be written (%s); metrics.jsonl has the numbers", error)

    def _tag(self, path: Path) -> str:
        source, target = self._names if path.stem.endswith("AtoB") else reversed(self._names)
        return f"samples/{source} to {target}"


def _append(path: Path, content: bytes) -> None:
    """Add to a file all or nothing."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        if file.write(content) != len(content):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _add_numbers(writer: SummaryWriter, record: dict[str, Any]) -> None:
    for name, value in record.items():
        if name not in ("step", "time"):
            writer.add_scalar(name, value, record["step"], walltime=record["time"])


def _add_picture(writer: SummaryWriter, tag: str, picture: np.ndarray, step: int, when: float) -> None:
    writer.add_image(tag, picture, step, walltime=when, dataformats="HWC")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and "step" in record:
            lines.append(record)
    return lines


class _AboveTheBar(logging.Handler):
    """Prints log lines without breaking the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Send the log to `path` (all of it, with times) and to the terminal (without details)."""
    details = logging.FileHandler(path, encoding="utf-8")
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
