"""The folder of a run: one run, used by one process at a time, never overwritten."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from cyclestyle.checkpoint import finish_save, newest_intact
from cyclestyle.config import Config, differences, load_config
from cyclestyle.errors import UserError
from cyclestyle.files import atomic_write, remove_leftovers, whole_lines
from cyclestyle.strict_yaml import dump_yaml


class RunFolderError(UserError):
    """A run folder that cannot be used."""


class RunFolder:
    """Holds a run folder for this process while the `with` block or the process lasts, however it ends.

    Attributes:
        notes: what `read_state` found worth telling, a line each.

    Raises:
        RunFolderError: the folder cannot be written to, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.checkpoints = path, path / "checkpoints"
        self.notes: list[str] = []
        self._made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunFolderError(
                f"{path}: cannot be used as a run folder: {error.strerror}; choose another --run-dir"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self._lock).st_nlink == 0:
                raise BlockingIOError("a process that was refused has just removed the folder")
        except BlockingIOError:
            os.close(self._lock)
            raise RunFolderError(f"{path}: in use by another process; choose another --run-dir") from None
        except OSError as error:
            os.close(self._lock)
            raise RunFolderError(
                f"{path}: its file system cannot lock files ({error.strerror}); choose another --run-dir"
            ) from None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        if self._made and [p.name for p in self.path.glob("*")] == [".lock"]:  # refused before anything was written
            with suppress(OSError):
                (self.path / ".lock").unlink()
                self.path.rmdir()
        os.close(self._lock)

    def check_empty(self) -> None:
        """Refuse a folder for a new run that holds a run, or anything else.

        Raises:
            RunFolderError: with what is in it.
        """
        if (self.path / "config.yaml").exists() or self.checkpoints.exists():
            raise RunFolderError(
                f"{self.path}: holds a run already; go on with it by --resume, or choose another --run-dir"
            )
        others = sorted(p.name for p in self.path.iterdir() if p.name != ".lock" and not p.name.startswith(".tmp-"))
        if others:
            raise RunFolderError(f"{self.path}: is not empty ({', '.join(others[:3])}); choose another --run-dir")

    def read_state(self, config: Config) -> dict[str, Any] | None:
        """The state to go on from, or None if the run was stopped before its first checkpoint.

        Raises:
            RunFolderError: there is a run of another model, a run that lost its checkpoints, or something else.
            CheckpointError: no checkpoint can be read.
        """
        found = newest_intact(self.checkpoints)
        began_with = self.path / "config.yaml"
        if found is None and not began_with.exists():
            self.check_empty()
        for folder in (self.path, self.checkpoints, self.path / "samples"):
            remove_leftovers(folder)
        if found is None:
            if began_with.exists() and (came_to := self._last_step()) > load_config(began_with).train.save_every_steps:
                raise RunFolderError(
                    f"{self.checkpoints}: the run has come to step {came_to} and there is no checkpoint; put them "
                    f"back, or, to begin again at step 0, delete {self.path / 'metrics.jsonl'}"
                )
            self.notes.append(f"no checkpoint in {self.path} yet: starting from step 0")
            return None
        path, state, damaged = found
        changes = differences(state["config"], config)
        models = [name for name, _, _ in changes if name.startswith(("model.", "data.names", "data.prepare."))]
        if models:
            raise RunFolderError(
                f"{self.path}: holds a run of another model ({', '.join(models)} differ); choose another "
                "--run-dir, or start from its generators with train.init_from"
            )
        self.notes += [f"{line}; going back to {path.name}" for line in damaged]
        self.notes += [f"changed since the checkpoint: {name}: {old} -> {new}" for name, old, new in changes]
        finish_save(path, state["config"], state, config.train.keep_last)  # a kill may have come in between
        return state

    def _last_step(self) -> int:
        metrics = self.path / "metrics.jsonl"
        return max((line["step"] for line in whole_lines(metrics)), default=0) if metrics.exists() else 0

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration."""
        with atomic_write(self.path / "config.yaml") as file:
            file.write(dump_yaml(config.model_dump()).encode())
