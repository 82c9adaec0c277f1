"""Files and folders that are written whole or not at all."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from cyclestyle.errors import UserError

PREFIX = ".tmp-"


def _read_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_UMASK = _read_umask()  # once, at import: reading it sets it for a moment, which threads must not see


@contextmanager
def atomic_write(path: Path, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` only when the block ends without an error and all is on disk.

    Of a process that is killed nothing stays, where the system has files without a name; elsewhere a `.tmp-` file may.

    Raises:
        FileExistsError: somebody has put a file there, and it is not to be overwritten.
    """
    name = path.parent / f"{PREFIX}{secrets.token_hex(8)}"
    try:
        handle = _open_nameless(path.parent)
        with name.open("x+b") if handle is None else os.fdopen(handle, "w+b") as file:  # some encoders read again
            os.fchmod(file.fileno(), 0o666 & ~_UMASK)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if handle is not None:
                _give_name(file, name)
        _replace(name, path, overwrite)
    except BaseException as error:
        with suppress(OSError):
            name.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # the user knows no other name
        raise
    _to_disk(path.parent)


def _open_nameless(folder: Path) -> int | None:
    """A file that the system removes with its process unless it is given a name; None where there are none."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except (AttributeError, OSError):  # macOS; many network file systems
        return None


def _give_name(file: BinaryIO, name: Path) -> None:
    try:
        os.link(f"/proc/self/fd/{file.fileno()}", name, src_dir_fd=file.fileno())  # which makes Python follow the link
    except OSError:  # no hard links, or no /proc
        with name.open("xb") as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())


def put_in_place(made: Path, target: Path, overwrite: bool = True) -> None:
    """Let a finished file take the place of another on the same disk, when all of it is on disk.

    Raises:
        FileExistsError: as of `atomic_write`.
    """
    handle = os.open(made, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    _replace(made, target, overwrite)
    _to_disk(target.parent)


def _replace(made: Path, target: Path, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(made, target)  # in one step, so that no file that comes just now is lost
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        else:
            made.unlink()
            return
    os.replace(made, target)


def _to_disk(folder: Path) -> None:
    with suppress(OSError):  # some network file systems cannot; the file is in place all the same
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left of `atomic_write` in a folder that nobody else writes to."""
    for path in folder.glob(f"{PREFIX}*"):
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


def refuse_used_folder(path: Path, *sources: Path) -> None:
    """See that `path` can be a new folder.

    Raises:
        UserError: it exists and is not empty, or lies inside one of the sources.
    """
    if os.path.lexists(path) and not path.is_dir():
        raise UserError(f"{path}: is a file; choose another name for the folder, nothing is overwritten")
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path}: exists already and is not empty; choose another folder, nothing is overwritten")
    for source in sources:
        if path.resolve().is_relative_to(source.resolve()):
            raise UserError(f"{path}: lies inside {source}; choose a folder outside, sources are left as they are")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, beside `path`, that takes its place only when the block ends without an error.

    If the process is killed, what it wrote stays in a folder whose name has `.partial-` in it.

    Raises:
        UserError: the disk is full; what was written is removed.
    """
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name}.partial-"))
    try:
        partial.chmod(0o777 & ~_UMASK)
        yield partial
        os.rename(partial, target)  # refused if somebody has put something there
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{path}: the disk is full; free some space and try again, nothing was left there"
            ) from None
        raise
