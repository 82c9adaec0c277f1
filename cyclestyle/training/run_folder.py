"""The folder of a run: one run, used by one process at a time, never overwritten."""

import fcntl
import os
from pathlib import Path
from typing import Any

import yaml

from cyclestyle.checkpoint import newest_intact
from cyclestyle.config import Config
from cyclestyle.errors import UserError
from cyclestyle.files import atomic_write, remove_leftovers


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
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunFolderError(
                f"{path}: cannot be used as a run folder: {error.strerror}; choose another --run-dir"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise RunFolderError(f"{path}: in use by another process; choose another --run-dir") from None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
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
            RunFolderError: the folder holds a run of other networks.
            CheckpointError: no checkpoint can be read.
        """
        for folder in (self.path, self.checkpoints):
            remove_leftovers(folder)
        found = newest_intact(self.checkpoints)
        if found is None:
            self.notes.append(f"no checkpoint in {self.path} yet: starting from step 0")
            return None
        path, state, damaged = found
        self.notes += [f"{line}; going back to {path.name}" for line in damaged]
        changes = _differences(state["config"].model_dump(), config.model_dump())
        models = [name for name, _, _ in changes if name.startswith("model.")]
        if models:
            raise RunFolderError(
                f"{self.path}: holds a run of other networks ({', '.join(models)} differ); choose another "
                "--run-dir, or start from its generators with train.init_from"
            )
        self.notes += [f"changed since the checkpoint: {name}: {old} -> {new}" for name, old, new in changes]
        return state

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration."""
        with atomic_write(self.path / "config.yaml") as file:
            file.write(yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True).encode())


def _differences(before: Any, after: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            difference
            for key in {**before, **after}
            for difference in _differences(before.get(key), after.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if before == after else [(name, before, after)]
