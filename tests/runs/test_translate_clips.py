"""The translation command and clips: what it prints, writes and returns, and that it goes on after a kill."""

import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cyclestyle.files import sha256
from cyclestyle.images import read_image
from cyclestyle.provenance import main as show_provenance
from cyclestyle.provenance import read_provenance
from cyclestyle.translate.__main__ import main
from cyclestyle.translate.maps import Room
from cyclestyle.translate.parts import LENGTH
from cyclestyle.translate.translator import Translator
from tests.clip_files import difference, drawn, read_clip, sound_of, write_clip


def test_a_folder_of_pictures_and_clips_is_translated(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    Image.effect_noise((50, 30), 80).convert("RGB").save(tmp_path / "in" / "a.png")
    clips = [write_clip(tmp_path / "in" / name, drawn(5), sound=True) for name in ("b.mp4", "deep/c.webm")]
    (tmp_path / "in" / "d.mov").write_text("no clip")
    out = tmp_path / "out"
    words = [str(run_dir), str(tmp_path / "in"), "-o", str(out), "--to", "ink", "--batch-size", "2"]
    assert main([*words, "--format", "mkv", "--suffix", "_ink"]) == 1
    printed = capsys.readouterr()
    assert "photo to ink (BtoA), 1 picture and 3 clips, on " in printed.out
    assert f"3 translated into {out}, 1 failed" in printed.out
    assert printed.err == f"failed: {tmp_path / 'in' / 'd.mov'}: not a video, or a damaged one\n"
    made = [out / "b_ink.mkv", out / "deep" / "c_ink.mkv"]
    assert sorted(p for p in out.rglob("*") if p.is_file()) == [out / "a_ink.png", *made]
    assert read_image(out / "a_ink.png").shape == (30, 50, 3)
    for source, target in zip(clips, made, strict=True):
        (pictures, times), (translated, shown) = read_clip(source), read_clip(target)
        assert pictures.shape == translated.shape
        begins, began = sound_of(target)[0][0], sound_of(source)[0][0]  # before 0 in MP4, which MKV cannot
        assert [float(t - begins) for t in shown] == pytest.approx([float(t - began) for t in times], abs=2e-3)
        assert [data for _, data in sound_of(target)] == [data for _, data in sound_of(source)]
        told = read_provenance(target)
        assert told is not None
        assert (told.direction, told.names) == ("BtoA", "photo to ink")
        assert told.model == sha256(run_dir / "checkpoints" / "latest.safetensors")
        with av.open(str(target)) as container:  # for programs that read no XMP there
            tags = container.metadata
        assert (tags["CREATOR_TOOL"], tags["GENERATOR_MODEL"]) == (told.program, told.model)
        assert tags["GENERATOR_DIRECTION"] == told.direction
    assert show_provenance([*map(str, made)]) == 0


def test_pictures_of_a_clip_are_translated_as_single_pictures_are(run_dir: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", drawn(3, (64, 48)), codec="libx264", pix_fmt="yuv444p", color_range=1)
    [first, *_], _ = read_clip(clip)
    Image.fromarray(first).save(tmp_path / "a.png")
    for name in ("a.mkv", "a.png"):
        assert main([str(run_dir), str(tmp_path / name), "-o", str(tmp_path / "out" / name), "--crf", "1"]) == 0
    made, _ = read_clip(tmp_path / "out" / "a.mkv")
    single = read_image(tmp_path / "out" / "a.png")
    small = [
        np.asarray(Image.fromarray(picture).resize((16, 12), Image.Resampling.BOX)) for picture in (made[0], single)
    ]
    assert difference(*small) < 4


def test_a_clip_is_translated_back_and_seen_side_by_side(run_dir: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", drawn(3))
    assert main([str(run_dir), str(clip), "-o", str(tmp_path / "out"), "--both"]) == 0
    assert main([str(run_dir), str(clip), "-o", str(tmp_path / "side"), "--both", "--compare"]) == 0
    made, back, row = (read_clip(tmp_path / name)[0] for name in ("out/a.mp4", "out/a_back.mp4", "side/a.mp4"))
    shown = np.split(np.concatenate([row, np.zeros_like(row[:, :, :2])], 2), 3, axis=2)
    for expected, part in zip((read_clip(clip)[0], made, back), shown, strict=True):
        assert difference(expected, part[:, :, :48]) < 10


def test_a_killed_translation_goes_on_and_ends_with_the_same_file(run_dir: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", drawn(4 * LENGTH, (128, 96)), sound=True)
    words = [str(run_dir), str(clip), "-o", str(tmp_path / "killed"), "--device", "cpu", "--batch-size", "3"]
    process = subprocess.Popen([sys.executable, "-m", "cyclestyle.translate", *words], stdout=subprocess.DEVNULL)
    while not (parts := list(tmp_path.glob("killed/.a.mp4.partial-*/part_*"))):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "a.mp4").exists()
    written = parts[0].stat().st_mtime_ns
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        from cyclestyle.translate import parts as module

        join = module.join_parts

        def joining(clip: object, found: list[module.Part], *others: object) -> None:
            seen.extend(part.path.stat().st_mtime_ns for part in found)
            join(clip, found, *others)  # type: ignore[arg-type]

        patch.setattr("cyclestyle.translate.video.join_parts", joining)
        assert main(words) == 0
    assert seen[0] == written, "what was translated is not translated again"
    assert len(seen) == 4
    words[words.index("-o") + 1] = str(tmp_path / "whole")
    assert main(words) == 0
    assert (tmp_path / "killed" / "a.mp4").read_bytes() == (tmp_path / "whole" / "a.mp4").read_bytes()
    assert [p.name for p in (tmp_path / "killed").iterdir()] == ["a.mp4"]


def test_a_clip_that_is_cut_off_is_status_1_though_it_is_translated(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "a.webm", drawn(50))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    assert main([str(run_dir), str(clip), "-o", str(tmp_path / "out")]) == 1
    assert f"failed: {clip}: cut off after " in capsys.readouterr().err
    assert len(read_clip(tmp_path / "out" / "a.webm")[0]) > 20


def test_clips_of_a_folder_in_which_some_are_too_short_are_translated(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Translator, "_room", lambda self: Room(0))  # so that tiles need a file beside the translations
    (tmp_path / "in" / "a").mkdir(parents=True)
    for name, count in (("a/a.mp4", 5), ("b.mp4", 30)):
        write_clip(tmp_path / "in" / name, drawn(count, (96, 80)))
    (tmp_path / "in" / "b.mp4").rename(tmp_path / "in" / "b.avi")
    words = [str(run_dir), str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--start", "1", "--tile", "64"]
    assert main(words) == 1
    printed = capsys.readouterr()
    assert printed.err == f"failed: {tmp_path / 'in' / 'a' / 'a.mp4'}: lasts 0.20 s; --start must be before that\n"
    assert "1 translated into " in printed.out
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.mp4"]


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["--start", "1:00"], 1, "a.mp4: lasts 0.20 s; --start must be before that"),
        (["--codec", "vp9", "--format", "mov"], 1, ".mov does not hold vp9; choose --codec h264 or h265"),
        (["--format", "webm"], 1, ".webm does not hold its sound (aac); choose --format mp4 or m4v or mov or mkv"),
        (["--codec", "h263"], 2, "argument --codec: invalid choice: 'h263'"),
        (["--start", "soon"], 2, "argument --start: 'soon' is not a time; write seconds as 90.5, or 1:30.5"),
        (["--start", "3", "--end", "2"], 2, "--end must be after --start: 2 s is not after 3 s"),
        (["--fps", "0"], 2, "argument --fps: '0' is not a rate"),
        (["--fps", "1e-6"], 2, "argument --fps: '1e-6' is not a rate"),
        (["--crf", "52"], 2, "--crf must be 0 to 51, not 52"),
        (["--smooth", "2"], 2, "--smooth must be 0 to 1, not 2"),
        (["--smooth", "1", "--compare"], 2, "--smooth takes translations alone: leave out --compare"),
        (["-o", "a.avi"], 1, "-o a.avi: avi cannot be written; choose mp4"),
        (["-o", "a.png"], 1, "pictures cannot become clips, nor clips pictures"),
        (["-o", "a.mp4"], 1, "is an input and would be overwritten"),
    ],
)
def test_mistakes_about_clips_are_one_line_before_anything_is_written(
    run_dir: Path, tmp_path: Path, words: list[str], status: int, expected: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "a.mp4", drawn(5), sound=True)
    with pytest.raises(SystemExit) as stopped:
        sys.exit(main([str(run_dir), "a.mp4", "-o", "out", *words]))
    assert stopped.value.code == status
    assert expected in capsys.readouterr().err.strip().splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_part_of_a_real_clip_is_translated(run_dir: Path, real_data: Path, tmp_path: Path) -> None:
    [clip] = (real_data / "video").glob("*.mp4")
    words = [str(run_dir), str(clip), "-o", str(tmp_path), "--start", "3", "--end", "3.21"]
    assert main(words) == 0
    made, times = read_clip(tmp_path / clip.name)
    pictures, shown = read_clip(clip)
    at = [i for i, (time, end) in enumerate(pairwise(shown)) if end > 3 and time < 3.21]
    assert made.shape == (len(at), *pictures.shape[1:])
    assert times == [max(shown[i] - 3, 0) for i in at]
    inside = [data for time, data in sound_of(clip) if 3 <= time < 3.21]
    assert [data for _, data in sound_of(tmp_path / clip.name)] == inside
