"""Clips: what is kept of them, what is refused, and that an interrupted translation goes on."""

import errno
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image, ImageFilter

from cyclestyle.errors import UserError
from cyclestyle.provenance import read_provenance
from cyclestyle.translate import parts
from cyclestyle.translate.clips import Clip
from cyclestyle.translate.flicker import Smoother
from cyclestyle.translate.pipeline import Settings, translate_files
from cyclestyle.translate.sources import Job
from cyclestyle.translate.video import check_videos, translate_video
from cyclestyle.translate.video_options import CODECS, VideoOptions
from tests.clip_files import (
    BASE,
    ORIGIN,
    difference,
    drawn,
    of_frames,
    read_clip,
    same,
    sound_of,
    translated,
    write_clip,
)

SUFFIXES = [".mp4", ".mov", ".mkv", ".webm"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_clip_keeps_container_size_pictures_times_and_sound_and_says_where_it_is_from(
    suffix: str, translator: Any, tmp_path: Path
) -> None:
    uneven = [0, 3, 4, 9, 10, 11, 30, 31, 33, 34] + [40 + i * (1 + i % 3) for i in range(50)]
    times = [round(t / 25 / BASE[suffix]) for t in sorted(set(uneven))]
    source = write_clip(tmp_path / f"a{suffix}", drawn(len(times)), times, sound=True)
    before = source.read_bytes()
    target = translated(translator, source)
    (pictures, shown), (made, made_shown) = read_clip(source), read_clip(target)
    assert made_shown == shown
    assert len(made) == len(times) > parts.LENGTH, "more than one part"
    assert difference(made, pictures) < 4
    assert sound_of(target) == sound_of(source)
    assert len(sound_of(target)) > 10
    with av.open(str(source)) as one, av.open(str(target)) as other:
        assert one.format.name == other.format.name
        assert one.streams.video[0].codec_context.name == other.streams.video[0].codec_context.name
        assert other.duration == pytest.approx(one.duration, abs=50_000)
    assert read_provenance(target) == ORIGIN
    assert source.read_bytes() == before
    assert sorted(p.name for p in target.parent.iterdir()) == [target.name], "parts are gone"


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_writes_odd_sizes_as_they_are(codec: str, translator: Any, tmp_path: Path) -> None:
    size = (67, 65)
    source = write_clip(tmp_path / "a.mkv", drawn(6, size), pix_fmt="yuv444p")
    target = translated(translator, source, codec=codec)
    made, times = read_clip(target)
    assert made.shape == (6, 65, 67, 3)
    assert difference(made, read_clip(source)[0]) < 4
    assert times == read_clip(source)[1]
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == codec.replace("h265", "hevc")


def test_chapters_and_subtitles_are_passed_through(
    translator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_clip(tmp_path / "plain.mkv", drawn(50), sound=True)
    source = tmp_path / "a.mkv"
    chapters: list[Any] = [
        {"id": i, "start": i, "end": i + 1, "time_base": Fraction(1), "metadata": {"title": f"part {i}"}}
        for i in (0, 1)
    ]
    (tmp_path / "a.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nrain\n")
    with av.open(str(plain)) as clip, av.open(str(tmp_path / "a.srt")) as words, av.open(str(source), "w") as out:
        streams = {(f, s.index): out.add_stream_from_template(s) for f in (clip, words) for s in f.streams}
        out.set_chapters(chapters)
        for container in (words, clip):
            for packet in container.demux():
                if packet.size:
                    packet.stream = streams[container, packet.stream.index]
                    out.mux(packet)
    with av.open(str(translated(translator, source))) as made:
        assert [(c["start"] * c["time_base"], c["metadata"]) for c in made.chapters()] == [
            (0, {"title": "part 0"}), (1, {"title": "part 1"}),
        ]  # fmt: skip
        [line] = [p for p in made.demux(subtitles=0) if p.size]
        assert (bytes(line), line.pts * line.time_base) == (b"rain", Fraction(1, 2))
    assert "subtitles" not in capsys.readouterr().out
    with av.open(str(translated(translator, source, target=tmp_path / "a.mp4"))) as made:
        assert not made.streams.subtitles
    told = f"{source}: .mp4 does not hold its subtitles (srt), which are left out; --format mkv keeps them"
    assert told in capsys.readouterr().out


def test_which_sound_is_the_default_and_fonts_are_passed_through(translator: Any, tmp_path: Path) -> None:
    plain, source = write_clip(tmp_path / "plain.mkv", drawn(9), sound=True), tmp_path / "a.mkv"
    with av.open(str(plain)) as clip, av.open(str(source), "w") as out:
        pictures, first, second = (out.add_stream_from_template(clip.streams[i]) for i in (0, 1, 1))
        first.disposition, second.disposition = Disposition.comment, Disposition.default
        out.add_attachment("font.ttf", "font/ttf", b"letters")
        for packet in clip.demux():
            if packet.size and packet.stream.index == 0:
                packet.stream = pictures
                out.mux(packet)
            elif packet.size:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                for sound, heard in ((first, packet), (second, copy)):
                    heard.stream = sound
                    out.mux(heard)
    for suffix in (".mkv", ".mp4"):
        with av.open(str(translated(translator, source, target=tmp_path / f"b{suffix}"))) as made:
            assert [stream.disposition for stream in made.streams.audio] == [Disposition.comment, Disposition.default]
            fonts = [(font.name, bytes(font.data)) for font in made.streams.attachments]
            assert fonts == ([("font.ttf", b"letters")] if suffix == ".mkv" else [])


def test_packets_of_sound_that_share_a_time_all_stay(translator: Any, tmp_path: Path) -> None:
    plain, source = write_clip(tmp_path / "plain.mkv", drawn(9)), tmp_path / "a.mkv"
    with av.open(str(plain)) as clip, av.open(str(source), "w") as out:
        pictures = out.add_stream_from_template(clip.streams.video[0])
        sound: Any = out.add_stream("pcm_s16le", 48000)
        sound.layout = "mono"
        out.start_encoding()
        for number in range(400):  # of 40 samples, where Matroska counts milliseconds
            packet = av.Packet(number.to_bytes(2, "little") * 40)
            packet.pts = packet.dts = 40 * number
            packet.time_base, packet.stream = Fraction(1, 48000), sound
            out.mux_one(packet)
        for packet in clip.demux(video=0):
            if packet.size:
                packet.stream = pictures
                out.mux(packet)
    assert len({time for time, _ in sound_of(source)}) < 400
    assert sound_of(translated(translator, source)) == sound_of(source)


def interrupting(after: int) -> Any:
    count = 0

    def translate(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        nonlocal count
        count += len(pictures)
        if count > after:
            raise KeyboardInterrupt
        return list(pictures)

    return translate


@pytest.mark.parametrize("options", [{}, {"fps": Fraction(30)}, {"start": Fraction(1, 5)}, {"smooth": 0.5}])
def test_an_interrupted_translation_goes_on_and_ends_the_same(
    options: dict[str, Any], translator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "a.mp4", drawn(110, (128, 96)), sound=True, gop_size=10)  # x264 varies in tiny ones
    with pytest.raises(KeyboardInterrupt):
        translated(translator, source, interrupting(100), **options)
    assert "the same command goes on from there" in capsys.readouterr().err
    [folder] = (tmp_path / "out").iterdir()
    assert folder.name.startswith(".a.mp4.partial-")
    assert len(list(folder.glob("part_*"))) == 2
    left: list[int] = []
    target = translated(translator, source, lambda p: [left.append(len(p)), *p][1:], **options)
    whole = translated(translator, source, target=tmp_path / "whole.mp4", **options)
    assert target.read_bytes() == whole.read_bytes()
    assert sum(left) == len(read_clip(whole)[0]) - 2 * parts.LENGTH if "fps" not in options else sum(left) < 60
    assert list((tmp_path / "out").iterdir()) == [target]


def test_smoothing_takes_away_flicker_and_keeps_detail_and_drags_nothing_over_a_cut() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(128, 90, (2, 100, 160)).clip(0, 255).astype(np.uint8)
    blurred = (Image.fromarray(levels).filter(ImageFilter.GaussianBlur(2)).convert("RGB") for levels in noise)
    scene, other = map(np.asarray, blurred)
    source = [np.ascontiguousarray(scene[10:74, 2 * i : 2 * i + 96]) for i in range(12)] + [other[:64, :96]]
    made = [(255 - s + rng.normal(0, 8, s.shape)).clip(0, 255).round().astype(np.uint8) for s in source]
    smoother = Smoother(0.8)
    smoothed = [smoother(s, m) for s, m in zip(source, made, strict=True)]
    inner = np.s_[8:-8, 8:-8]

    def error(pictures: list[np.ndarray]) -> float:
        pairs = list(zip(pictures, source, strict=True))[4:12]
        return float(np.mean([np.square(p[inner] - (255.0 - s[inner])).mean() for p, s in pairs]))

    assert error(smoothed) < error(made) / 2
    assert np.array_equal(smoothed[0], made[0])
    assert difference(smoothed[-1], made[-1]) < difference(made[-2], made[-1]) / 8
    assert np.array_equal(smoothed[1], Smoother(0.8, (source[0], made[0]))(source[1], made[1])), "goes on where it was"
    tiny = [picture[:40, :8].copy() for picture in made]
    smoother = Smoother(0.8)
    assert all(np.array_equal(smoother(picture, picture), picture) for picture in tiny), "too small for a flow"


def test_other_options_and_other_models_begin_anew(translator: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", drawn(60))
    with pytest.raises(KeyboardInterrupt):
        translated(translator, source, interrupting(55))
    for change in ({"crf": 30}, {}):
        if not change:
            translator.model.hash = "of other weights"
        with pytest.raises(KeyboardInterrupt):
            translated(translator, source, interrupting(0), **change)
        assert len(list((tmp_path / "out").glob(".a.mp4.partial-*/part*"))) == 1
    counted: list[int] = []
    translated(translator, source, lambda p: [counted.append(len(p)), *p][1:])
    assert sum(counted) == 60
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.mp4"]


def test_few_pictures_are_held_at_a_time(translator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shots, read, done = Clip.shots, 0, 0

    def counting(self: Clip, after: int | None = None) -> Iterator[Any]:
        nonlocal read
        for shot in shots(self, after):
            read += 1
            yield shot

    def translate(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        nonlocal done
        assert read - done <= 4 * 4
        done += len(pictures)
        return list(pictures)

    monkeypatch.setattr(Clip, "shots", counting)
    translated(translator, write_clip(tmp_path / "a.mp4", drawn(100)), translate, batch_size=4)
    assert done == 100


def test_a_clip_that_is_cut_off_is_translated_as_far_as_it_goes(translator: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", drawn(100))
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    target = tmp_path / "b.mkv"
    told = translate_video(of_frames(same), translator, source, target, Settings(1, 10**6, 95, None))
    assert told is not None
    assert f"{source}: cut off after " in told
    assert f" of 4.00 s; what can be read is in {target}" in told
    assert 20 < len(read_clip(target)[0]) < 80
    assert read_provenance(target) is None


def test_damage_is_told_by_the_translation_that_goes_on_behind_it(translator: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", drawn(110), gop_size=5)
    with av.open(str(source)) as clip:
        place, size = [(p.pos, p.size) for p in clip.demux(video=0) if p.size][10]
    broken = bytearray(source.read_bytes())
    broken[place : place + size] = b"\xff" * size
    source.write_bytes(broken)
    settings, target = Settings(1, 10**6, 95, None), tmp_path / "b.mp4"
    with pytest.raises(KeyboardInterrupt):
        translate_video(of_frames(interrupting(60)), translator, source, target, settings)
    left: list[int] = []
    told = translate_video(of_frames(lambda p: [left.append(1), *p][1:]), translator, source, target, settings)
    assert len(left) < 70
    assert told is not None
    assert f"{source}: damaged at " in told


def test_a_disk_that_is_full_is_one_line_and_what_there_is_is_kept(
    translator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_clip(tmp_path / "a.mp4", drawn(100))
    write = parts.atomic_write

    def full(path: Path) -> Any:
        if path.name != "part_0_24064_24576.mp4":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "atomic_write", full)
        with pytest.raises(UserError, match=r"out/a.mp4: cannot be written: No space left on device; what is trans"):
            translated(translator, source)
    assert len(list((tmp_path / "out").glob(".a.mp4.partial-*/part*"))) == 1
    assert not (tmp_path / "out" / "a.mp4").exists()
    assert len(read_clip(translated(translator, source))[0]) == 100


def test_a_clip_that_another_process_translates_is_left_to_it(translator: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", drawn(3))

    def translate(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        with pytest.raises(UserError, match="another process is at work there"):
            translated(translator, source)
        return list(pictures)

    translated(translator, source, translate)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("a.mp4", {"start": Fraction(9)}, "a.mp4: lasts 0.40 s; --start must be before that"),
        ("a.mp4", {"codec": "h265"}, "h265 takes no pictures of less than 64 pixels; choose --codec h264"),
        ("a.webm", {"codec": "h264"}, "a.webm: .webm does not hold h264; choose --codec vp9 or av1, or --format mkv"),
        ("a.mp4", {"target": "b.webm"}, r"a.mp4: .webm does not hold its sound \(aac\); choose --format mp4 or "),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is(
    name: str, options: dict[str, Any], told: str, translator: Any, tmp_path: Path
) -> None:
    source = write_clip(tmp_path / name, drawn(10), sound=True)
    target = tmp_path / options.pop("target", f"made{source.suffix}")
    with pytest.raises(UserError, match=told):
        check_videos([Job(source, target)], VideoOptions(**options))


def test_clips_that_cannot_be_translated_as_wanted_do_not_stop_the_others(tmp_path: Path) -> None:
    jobs = [Job(write_clip(tmp_path / f"{n}.mkv", drawn(n)), tmp_path / f"{n}_made.mkv") for n in (10, 50)]
    assert check_videos(jobs, VideoOptions(start=Fraction(1))) == {
        jobs[0]: f"{jobs[0].source}: lasts 0.40 s; --start must be before that"
    }
    with pytest.raises(UserError, match="lasts"):
        check_videos(jobs, VideoOptions(start=Fraction(9)))
    picture = Job(tmp_path / "a.png", tmp_path / "b.png")
    assert check_videos([*jobs, picture], VideoOptions(start=Fraction(9))).keys() == set(jobs)


def test_sound_that_mp4_refuses_only_at_its_end_is_told_before(translator: Any, tmp_path: Path) -> None:
    source = tmp_path / "a.avi"
    with av.open(str(source), "w") as out:
        stream: Any = out.add_stream("mpeg4", 25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        audio: Any = out.add_stream("pcm_s16le", 48000)
        audio.layout = "stereo"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), "s16", "stereo")
        sound.sample_rate, sound.pts = 48000, 0
        for number, picture in enumerate(drawn(3)):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(audio.encode(sound))
        out.mux(stream.encode(None))
    with pytest.raises(UserError, match=r"a.avi: .mp4 does not hold its sound \(pcm_s16le\); choose --format mov or"):
        translated(translator, source, target=tmp_path / "a.mp4")
    assert len(read_clip(translated(translator, source, target=tmp_path / "a.mov"))[0]) == 3


def test_names_of_any_length_are_kept(translator: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / f"{'山' * 82}.mp4", drawn(3))
    assert translated(translator, source).name == source.name
    assert [p.name for p in (tmp_path / "out").iterdir()] == [source.name]


def test_a_clip_that_another_process_has_translated_meanwhile_is_done(translator: Any, tmp_path: Path) -> None:
    job = Job(write_clip(tmp_path / "a.mkv", drawn(10)), tmp_path / "b.mkv")
    job.target.write_bytes(b"theirs")
    assert translate_files(translator, [job], Settings(1, 10**6, 95, None, keep=True)) == 0
    assert job.target.read_bytes() == b"theirs"


def test_without_pyav_the_line_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"clips need PyAV: pip install 'cyclestyle\[video\]'"):
        check_videos([Job(tmp_path / "a.mp4", tmp_path / "b.mp4")], VideoOptions())
    clip, picture = Job(tmp_path / "a.mp4", tmp_path / "b.mp4"), Job(tmp_path / "a.png", tmp_path / "b.png")
    assert check_videos([picture, clip], VideoOptions()).keys() == {clip}


def test_a_large_file_is_searched_for_its_origin_in_little_memory(tmp_path: Path) -> None:
    def add(file: BinaryIO) -> None:
        file.write(ORIGIN.packet())

    for place in (0, 5 * 2**20 - 100, 2**25):
        path = tmp_path / f"{place}.mp4"
        with path.open("wb") as file:
            file.truncate(place)
            file.seek(place)
            add(file)
            file.truncate(2**25 + 2**12)
        tracemalloc.start()
        assert read_provenance(path) == ORIGIN
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()
    (tmp_path / "empty.mp4").touch()
    assert read_provenance(tmp_path / "empty.mp4") is None
