"""Files that are written whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cyclestyle.files import _open_nameless, atomic_write

WRITES = """
import sys, time
from pathlib import Path
from cyclestyle.files import atomic_write
with atomic_write(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def no_link(*_: object, **others: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("missing", ["nothing", "O_TMPFILE", "link"])
def test_a_file_is_there_when_all_of_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "O_TMPFILE":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)  # as on macOS
    if missing == "link":
        monkeypatch.setattr(os, "link", no_link)
    path = tmp_path / "a"
    for content in (b"one", b"other"):
        with atomic_write(path) as file:
            file.write(content)
            assert not path.exists() or path.read_bytes() == b"one"
        assert path.read_bytes() == content
    with pytest.raises(FileExistsError), atomic_write(path, overwrite=False) as file:
        file.write(b"third")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.write("no bytes")  # type: ignore[arg-type]
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"other")]
    mask = os.umask(0o022)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_process_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    if (handle := _open_nameless(tmp_path)) is None:
        pytest.skip("needs files without a name")
    os.close(handle)
    process = subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path / "a")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(tmp_path.iterdir()) == []
