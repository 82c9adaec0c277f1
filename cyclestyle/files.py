"""Files that are written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


def _read_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_UMASK = _read_umask()  # once, at import: reading it sets it for a moment, which threads must not see


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` only when the block ends without an error and all is on disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o666 & ~_UMASK)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the user knows no other name
        raise
    with suppress(OSError):  # some network file systems cannot; the file is in place all the same
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left of `atomic_write` in a folder that nobody else writes to."""
    for path in folder.glob(".tmp-*"):
        path.unlink(missing_ok=True)


def whole_lines(metrics: Path) -> list[dict[str, Any]]:
    """The entries of a metrics.jsonl, without a line that a kill cut off."""
    lines = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and "step" in record:
            lines.append(record)
    return lines
