"""What translations say of their origin, and the command that shows it."""

import time
from pathlib import Path

import pytest

from cyclestyle.provenance import main, read_provenance
from cyclestyle.translate.reading import About, Frame
from cyclestyle.translate.writing import write_frames
from tests.picture_files import ORIGIN, smooth


def test_text_that_looks_like_many_packets_is_searched_in_no_time(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"<x:xmpmeta " * 200_000 + ORIGIN.packet())
    began = time.monotonic()
    assert read_provenance(tmp_path / "a.png") == ORIGIN
    assert time.monotonic() - began < 5


def test_the_command_shows_where_pictures_are_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path / "a.png", [Frame(smooth())], About(), ORIGIN)
    write_frames(tmp_path / "b.png", [Frame(smooth())], About())
    assert main([str(tmp_path / "a.png")]) == 0
    assert f'photo to <ink> & "wash" (BtoA), translated by {ORIGIN.program}, model abab' in capsys.readouterr().out
    assert main([str(tmp_path / "a.png"), str(tmp_path / "b.png")]) == 1
    assert "b.png: says nothing" in capsys.readouterr().out
    assert main([str(tmp_path / "missing.png"), str(tmp_path / "a.png")]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"error: {tmp_path / 'missing.png'}: no such file\n"
    assert "a.png: photo to" in printed.out
    assert main([str(tmp_path)]) == 1
    assert f"{tmp_path}: is a folder; name files" in capsys.readouterr().err
