"""What a run tells: metrics.jsonl, which is the record; samples/; and TensorBoard, which is drawn from both."""

import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from cyclestyle.config import Config
from cyclestyle.files import atomic_write
from cyclestyle.images import write_image

log = logging.getLogger("cyclestyle")

# The page "Custom scalars": the story of a run in six charts.
STORY = {
    "at a glance": {
        "adversarial: both generators": ["Multiline", [r"^loss/adversarial_(ab|ba)$"]],
        "cycle: is the picture still in there?": ["Multiline", [r"^loss/cycle_(ab|ba)$"]],
        "identity: are colours kept?": ["Multiline", [r"^loss/identity_(ab|ba)$"]],
        "discriminator of A: scores (apart: it wins; equal: it is fooled)": ["Multiline", [r"^score/disc_a_(real|fake)$"]],
        "discriminator of B: scores (apart: it wins; equal: it is fooled)": ["Multiline", [r"^score/disc_b_(real|fake)$"]],
        "learning rate": ["Multiline", [r"^train/learning_rate$"]],
    }
}


class Report:
    """Writes the numbers and pictures of a run that stands at `step`; later entries of an earlier sitting are dropped.

    A full disk or a deleted folder never ends the run: entries wait in memory until they can be written.
    """

    def __init__(self, run_dir: Path, config: Config, step: int) -> None:
        self._metrics, self._samples, self._board = run_dir / "metrics.jsonl", run_dir / "samples", run_dir / "tensorboard"
        self._config, self._names = config, config.data.names
        self._waiting: list[str] = []
        self._writer: SummaryWriter | None = None
        self._drop_after(step)
        shutil.rmtree(self._board, ignore_errors=True)
        self._open_board()

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Add one entry; a name is `group/name`."""
        record = {"step": step, "time": round(time.time(), 3), **values}
        self._waiting.append(json.dumps(record) + "\n")
        try:
            with self._metrics.open("a", encoding="utf-8") as file:
                size = file.tell()
                try:
                    file.write("".join(self._waiting))
                    file.flush()
                except OSError:
                    os.truncate(self._metrics, size)
                    raise
            self._waiting.clear()
        except OSError as error:
            log.warning("metrics.jsonl cannot be written (%s); %d entries wait in memory", error.strerror, len(self._waiting))
        self._to_board(lambda writer: _add_numbers(writer, record))

    def pictures(self, step: int, direction: str, picture: np.ndarray) -> None:
        """Keep a grid, uint8 (H, W, 3); `direction` is `ab` or `ba`."""
        path = self._samples / f"{step:08d}_{'AtoB' if direction == 'ab' else 'BtoA'}.png"
        try:
            write_image(path, picture)
        except OSError as error:
            log.warning("%s cannot be written: %s", path, error.strerror)
        self._to_board(lambda writer: writer.add_image(self._tag(path), picture, step, dataformats="HWC"))

    def flush(self) -> None:
        """Make everything so far visible to TensorBoard."""
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

    def _open_board(self) -> None:
        """Start TensorBoard's folder anew from metrics.jsonl and samples/."""
        self._writer = SummaryWriter(str(self._board), flush_secs=30)
        self._writer.add_custom_scalars(STORY)
        self._writer.add_text("config", "```yaml\n" + yaml.safe_dump(self._config.model_dump(), sort_keys=False) + "```")
        for record in _whole_lines(self._metrics) if self._metrics.exists() else []:
            _add_numbers(self._writer, record)
        for path in sorted(self._samples.glob("*.png")):
            if path.stem[:8].isdigit():
                self._writer.add_image(self._tag(path), np.asarray(Image.open(path).convert("RGB")), int(path.stem[:8]),
                                       walltime=path.stat().st_mtime, dataformats="HWC")
        self._writer.flush()

    def _to_board(self, add: Any) -> None:
        try:
            if not self._board.is_dir() or not any(self._board.iterdir()):
                log.warning("%s was deleted; drawn again from metrics.jsonl and samples/", self._board)
                self._open_board()
            else:
                add(self._writer)
        except Exception as error:  # the event writer re-raises whatever went wrong in its thread
            log.warning("TensorBoard cannot be written (%s); metrics.jsonl has the numbers", error)

    def _tag(self, path: Path) -> str:
        source, target = self._names if path.stem.endswith("AtoB") else reversed(self._names)
        return f"samples/{source} to {target}"


def _add_numbers(writer: SummaryWriter, record: dict[str, Any]) -> None:
    for name, value in record.items():
        if name not in ("step", "time"):
            writer.add_scalar(name, value, record["step"], walltime=record["time"])


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


def start_logging(path: Path) -> list[logging.Handler]:
    """Send the log to `path` (all of it, with times) and to the terminal (without details); returns the handlers."""
    details = logging.FileHandler(path, encoding="utf-8")
    details.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    terminal = _AboveTheBar(logging.INFO)
    terminal.setFormatter(logging.Formatter("%(message)s"))
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for handler in (details, terminal):
        log.addHandler(handler)
    return [details, terminal]
