"""TensorBoard, drawn from metrics.jsonl and samples/: whatever happens to its folder, it can be drawn again."""

import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from cyclestyle.config import Config
from cyclestyle.files import whole_lines
from cyclestyle.images import ImageError, open_image
from cyclestyle.strict_yaml import dump_yaml
from cyclestyle.training.samples import sample_paths

log = logging.getLogger("cyclestyle")

# The page "Custom scalars": the story of a run in eight charts.
STORY = {
    "at a glance": {
        "adversarial: both generators": ["Multiline", [r"^loss/adversarial_(ab|ba)$"]],
        "cycle: is the picture still in there?": ["Multiline", [r"^loss/(cycle|back_translation)_(ab|ba)$"]],
        "identity: are colours kept?": ["Multiline", [r"^loss/identity_(ab|ba)$"]],
        "discriminator of A: scores (apart: it wins; equal: it is fooled)": [
            "Multiline",
            [r"^score/disc_a_(real|fake)$"],
        ],
        "discriminator of B: scores (apart: it wins; equal: it is fooled)": [
            "Multiline",
            [r"^score/disc_b_(real|fake)$"],
        ],
        "distance to real pictures (0: as near as real ones, 1: no nearer than untranslated)": [
            "Multiline",
            [r"^quality/(score|kid_random_(ab|ba)|swd_(ab|ba))$"],
        ],
        "content kept": ["Multiline", [r"^quality/(edge_f|structure)_(ab|ba)$"]],
        "learning rate": ["Multiline", [r"^train/learning_rate$"]],
    }
}


class Board:
    """Event files in a folder of its own, written at once, without a thread whose errors nobody sees.

    A failure to write (a full disk, a deleted folder) is logged, and the next entry draws the whole board again.
    """

    def __init__(self, folder: Path, config: Config, metrics: Path, samples: Path) -> None:
        self._folder, self._metrics, self._samples = folder, metrics, samples
        self._config, self._names = config, config.data.names
        self._path: Path | None = None
        self._records: RecordWriter | None = None
        self._failing = False
        self.draw()

    def numbers(self, record: dict[str, Any]) -> None:
        """Add an entry of metrics.jsonl, where it stands already."""
        if self._is_whole():
            self._try(lambda: self._add_numbers(record))

    def picture(self, path: Path) -> None:
        """Add a grid of samples/, where it lies already."""
        if self._is_whole():
            self._try(lambda: self._add_picture(path))

    def close(self) -> None:
        """Close the event file."""
        records, self._records = self._records, None
        if records is not None:
            with suppress(OSError):
                records.close()

    def _is_whole(self) -> bool:
        """Whether the event file is there to be added to; if not, it is drawn again from everything so far."""
        if self._records is not None and self._path is not None and self._path.exists():
            return True
        if not self._failing:
            log.warning("%s was deleted; drawing it again from metrics.jsonl and samples/", self._folder)
        self.draw()
        return False

    def draw(self) -> None:
        """Begin anew, with everything that metrics.jsonl and samples/ hold."""
        self._try(self._draw_all)

    def _draw_all(self) -> None:
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._path = self._folder / f"events.out.tfevents.{int(time.time())}.cyclestyle"
        self._records = RecordWriter(self._path.open("wb"))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        config = dump_yaml(self._config.model_dump())
        self._add(summary.custom_scalars(STORY), 0, time.time())
        self._add(summary.text("config", f"```yaml\n{config}```"), 0, time.time())
        for record in whole_lines(self._metrics) if self._metrics.exists() else []:
            self._add_numbers(record)
        for path in sample_paths(self._samples):
            self._add_picture(path)

    def _add_numbers(self, record: dict[str, Any]) -> None:
        told = {name: value for name, value in record.items() if name not in ("step", "time")}
        values = [Summary.Value(tag=n, simple_value=v) for n, v in told.items() if not isinstance(v, str)]
        self._add(Summary(value=values), record["step"], record["time"])
        for name, sentence in told.items():
            if isinstance(sentence, str):
                self._add(summary.text(name, sentence), record["step"], record["time"])

    def _add_picture(self, path: Path) -> None:
        source, target = self._names if path.stem.endswith("AtoB") else self._names[::-1]
        width = height = 0
        with suppress(ImageError), open_image(path) as picture:  # a damaged one is shown as it is
            width, height = picture.size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
        value = Summary.Value(tag=f"samples/{source} to {target}", image=image)
        self._add(Summary(value=[value]), int(path.stem[:8]), path.stat().st_mtime)

    def _add(self, content: Any, step: int, when: float) -> None:
        self._write(Event(wall_time=when, step=step, summary=content))

    def _write(self, event: Event) -> None:
        assert self._records is not None
        self._records.write(event.SerializeToString())
        self._records.flush()

    def _try(self, action: Any) -> None:
        try:
            action()
            self._failing = False
        except OSError as error:
            self.close()
            if not self._failing:
                log.warning("%s cannot be written (%s); it will be drawn when it can be", self._folder, error.strerror)
            self._failing = True
