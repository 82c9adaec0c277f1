"""Checkpoints: written whole or not at all, read without running code, and they describe themselves.

In the folder `checkpoints` of a run lie `step_NNNNNNNN.pt` (everything that training needs to go on), `latest.pt` (the
newest of them) and `latest.safetensors` (the two generators alone, with their description); `best.pt` and
`best.safetensors` hold the best generators by measure.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from cyclestyle import __version__
from cyclestyle.config import Config, ConfigError, check_config
from cyclestyle.errors import UserError
from cyclestyle.files import atomic_write, sha256

FORMAT = 1


class CheckpointError(UserError):
    """A checkpoint that cannot be written or read."""


@dataclass(frozen=True)
class TrainedModel:
    """The two generators of a run.

    Attributes:
        config: of the run that made them.
        step: how many steps they were trained.
        generators: state_dict by name, `gen_ab` and `gen_ba`; the moving average if the run kept one.
        path: the file they come from.
        hash: SHA-256 of that file.
    """

    config: Config
    step: int
    generators: dict[str, dict[str, Tensor]]
    path: Path
    hash: str = ""


def save_checkpoint(folder: Path, config: Config, state: dict[str, Any], keep_last: int) -> Path:
    """Write `state` (which holds `step` and `generators`) as the newest checkpoint of a run.

    The previous checkpoints stay until the new one is on disk; then all but the last `keep_last` are deleted.

    Returns:
        the file written.

    Raises:
        CheckpointError: the disk is full or not writable; the earlier checkpoints are untouched.
    """
    path = folder / f"step_{state['step']:08d}.pt"
    with _named(path):
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            torch.save({"format": FORMAT, "version": __version__, "config": config.model_dump(), **state}, file)
    finish_save(path, config, state, keep_last)
    return path


def finish_save(path: Path, config: Config, state: dict[str, Any], keep_last: int) -> None:
    """What follows on a new checkpoint: `latest.pt`, `latest.safetensors`, old ones deleted; may be repeated.

    Raises:
        CheckpointError: a file could not be written.
    """
    with _named(path.with_name("latest.pt")):
        _point_latest_to(path)
        older = [p for p in _checkpoints(path.parent) if _step(p) < state["step"]]  # later ones are damaged
        for old in older[keep_last - 1 :]:
            old.unlink(missing_ok=True)
    with _named(path.with_name("latest.safetensors")):
        _save_generators(path.with_name("latest.safetensors"), config, state)


def save_best(folder: Path, config: Config, state: dict[str, Any]) -> None:
    """Keep the generators of `state` as `best.pt` and `best.safetensors`.

    Raises:
        CheckpointError: a file could not be written; the earlier ones are untouched.
    """
    path = folder / "best.pt"
    kept = {key: state[key] for key in ("step", "generators", "best")}
    with _named(path):
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            torch.save({"format": FORMAT, "version": __version__, "config": config.model_dump(), **kept}, file)
            file.flush()
            os.fsync(file.fileno())  # neither file is replaced before there is room for both
            _save_generators(path.with_suffix(".safetensors"), config, state)


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Everything in a .pt file of `save_checkpoint`, with `config` as a Config.

    Raises:
        CheckpointError: the file is missing, damaged or no checkpoint of this program.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (PermissionError, IsADirectoryError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except MemoryError:
        raise CheckpointError(f"{path}: does not fit into the memory of this machine") from None
    except Exception:  # torch raises many kinds on damaged files, OSError among them
        raise CheckpointError(f"{path}: {_what_is_wrong(path)}") from None
    if not isinstance(content, dict) or not {"generators", "config", "step"} <= content.keys():
        raise CheckpointError(f"{path}: not a checkpoint of cyclestyle")
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: format {content.get('format')} is not format {FORMAT}; use the version that wrote it"
        )
    content["config"] = _config(content["config"], path)
    return content


def newest_intact(folder: Path) -> tuple[Path, dict[str, Any], list[str]] | None:
    """The newest checkpoint of a run that can be read, its content, and a line for each damaged one passed over.

    Returns:
        None if there is no checkpoint at all.

    Raises:
        CheckpointError: there are checkpoints, and none can be read.
    """
    paths = _checkpoints(folder)
    latest = folder / "latest.pt"
    if latest.exists() and not any(latest.samefile(path) for path in paths):
        paths.insert(1, latest)  # a copy of the newest, which may be whole where that is not
    damaged: list[str] = []
    for path in paths:
        try:
            return path, read_checkpoint(path), damaged
        except CheckpointError as error:
            damaged.append(str(error))
    if damaged:
        raise CheckpointError(
            "\n".join(damaged) + f"\nno checkpoint in {folder} can be read; restore one or train anew"
        )
    return None


def read_model(path: Path) -> TrainedModel:
    """The generators in a .pt or a .safetensors file; of a run folder, the best by measure, or else the newest.

    Raises:
        CheckpointError: nothing there can be read as a model; the text says what was looked for.
    """
    path = _model_file(Path(os.path.expanduser(path)))
    while True:
        before = _identity(path)
        model = _read_generators(path)
        found = replace(model, hash=sha256(path))
        if _identity(path) == before:  # or a run has just put another one there
            return found


def _identity(path: Path) -> tuple[int, ...] | None:
    if not path.exists():
        return None
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _model_file(path: Path) -> Path:
    if path.is_dir():
        candidates = [f"{name}.{suffix}" for name in ("best", "latest") for suffix in ("safetensors", "pt")]
        path_or_none = next((c for c in (path / "checkpoints" / name for name in candidates) if c.exists()), None)
        if path_or_none is None:
            below = sorted(path.glob("*/checkpoints/latest.*"))
            hint = f"did you mean {below[0].parents[1]}?" if below else "name a run that was trained, or a model file"
            raise CheckpointError(f"{path}: holds no checkpoints/latest.safetensors or latest.pt; {hint}")
        path = path_or_none
    return path


def _read_generators(path: Path) -> TrainedModel:
    if path.suffix != ".safetensors":
        content = read_checkpoint(path, mmap=True)
        return TrainedModel(content["config"], content["step"], content["generators"], path)
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    except FileNotFoundError:  # which safetensors says of any that it may not open
        reason = "may not be read; change its permissions" if path.exists() else "no such file"
        raise CheckpointError(f"{path}: {reason}") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged, or not a model ({error})") from None
    if "config" not in about:
        raise CheckpointError(f"{path}: was not written by cyclestyle: its description is missing")
    generators: dict[str, dict[str, Tensor]] = {"gen_ab": {}, "gen_ba": {}}
    for key, tensor in tensors.items():
        name, _, rest = key.partition(".")
        generators.setdefault(name, {})[rest] = tensor
    try:
        values, step = json.loads(about["config"]), int(about["step"])
    except (ValueError, KeyError):
        raise CheckpointError(f"{path}: was not written by cyclestyle: its description is another") from None
    return TrainedModel(_config(values, path), step, generators, path)


def _save_generators(path: Path, config: Config, state: dict[str, Any]) -> None:
    tensors = {f"{n}.{k}": t.contiguous() for n, net in state["generators"].items() for k, t in net.items()}
    names = config.data.names
    about = {
        "format": "cyclestyle",
        "version": __version__,
        "config": config.model_dump_json(),
        "step": str(state["step"]),
        "description": f"CycleGAN generators: gen_ab translates {names[0]} to {names[1]}, gen_ba back; "
        "float pictures (B, 3, H, W) in [-1, 1]",
    }
    with atomic_write(path) as file:
        file.write(safetensors_bytes(tensors, about))


def _point_latest_to(path: Path) -> None:
    """Make latest.pt the same file as `path`, or a copy where the file system has no hard links."""
    latest = path.parent / "latest.pt"
    if path == latest:
        return
    link = path.parent / ".tmp-latest"
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
        os.replace(link, latest)
        link.unlink(missing_ok=True)  # which replace leaves where latest was that file already
    except OSError:
        with path.open("rb") as source, atomic_write(latest) as target:
            shutil.copyfileobj(source, target)


def _what_is_wrong(path: Path) -> str:
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"  # as torch.save begins
    return "damaged: it was cut or altered" if archive else "not a checkpoint of cyclestyle"


def _config(values: dict[str, Any], path: Path) -> Config:
    try:
        return check_config(values, name=str(path))
    except ConfigError as error:
        raise CheckpointError(f"{error}\n{path}: its configuration is of another version of cyclestyle") from None


def _checkpoints(folder: Path) -> list[Path]:
    """Files that `save_checkpoint` names, newest first; others that a user keeps there are left alone."""
    ours = [path for path in folder.glob("step_*.pt") if re.fullmatch(r"step_\d{8,}", path.stem)]
    return sorted(ours, key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step_"))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its container format
        reason = error.strerror if isinstance(error, OSError) else "the file system took only a part (is it full?)"
        raise CheckpointError(f"{path}: could not be written: {reason}") from error
