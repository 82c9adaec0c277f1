"""Clips as they are read: upright, in sRGB, each picture at its time, and only the part that is asked for."""

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cyclestyle.errors import UserError
from cyclestyle.images import ImageError
from cyclestyle.translate.clips import Clip
from cyclestyle.translate.pipeline import Settings
from cyclestyle.translate.video import translate_video
from cyclestyle.translate.video_options import CODECS, VideoOptions, add_video_options
from tests.clip_files import difference, drawn, of_frames, read_clip, same, sound_of, translated, turn, write_clip


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (0, -1, 1, 0), (-1, 0, 0, -1), (-1, 0, 0, 1), (0, 1, 1, 0)])
def test_a_clip_comes_out_upright(matrix: tuple[int, int, int, int], translator: Any, tmp_path: Path) -> None:
    pictures = drawn(3)
    source = write_clip(tmp_path / "a.mp4", pictures)
    turn(source, matrix)
    made, _ = read_clip(translated(translator, source))
    a, b, c, d = matrix
    expected = pictures if a else pictures.swapaxes(1, 2)
    expected = expected[:, :, ::-1] if a + c < 0 else expected
    expected = expected[:, ::-1] if b + d < 0 else expected
    assert difference(made, expected) < 4
    with av.open(str(source.parent / "out" / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation == 0
        assert "DISPLAYMATRIX" not in str(list(frame.side_data))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 9, 2])
def test_colours_stay_whatever_the_source_counts_them_in(
    matrix: int, full: bool, translator: Any, tmp_path: Path
) -> None:
    colours = np.array([(200, 40, 50), (30, 170, 60), (40, 60, 210), (128, 128, 128), (235, 235, 235), (9, 9, 9)])
    pictures = np.broadcast_to(np.uint8(colours)[:, None, None], (6, 32, 48, 3)).copy()
    source = write_clip(
        tmp_path / "a.mp4", pictures, colorspace=matrix, color_range=2 if full else 1, pix_fmt="yuv444p",
        color_primaries=2, color_trc=2,
    )  # fmt: skip
    seen: list[np.ndarray] = []
    target = translated(translator, source, lambda pictures: [seen.extend(pictures), *pictures][1:])
    assert np.abs(np.stack(seen).mean((1, 2)) - colours).max() < 5
    made, _ = read_clip(target)
    assert np.abs(made.mean((1, 2)) - colours).max() < 5
    with av.open(str(target)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range, context.color_primaries, context.color_trc) == (1, 1, 1, 1)


def test_high_dynamic_range_is_brought_to_the_standard_one(translator: Any, tmp_path: Path) -> None:
    grey = np.full((4, 32, 48, 3), 128, np.uint8)
    source = write_clip(tmp_path / "a.mp4", grey, colorspace=9, color_primaries=9, color_trc=16, pix_fmt="yuv420p10le")
    made, _ = read_clip(translated(translator, source))
    assert 170 < made.mean() < 200, "half the signal of PQ is 100 of the 203 nits of white"


@pytest.mark.parametrize("smooth", [0, 0.5])
@pytest.mark.parametrize("width", [64, 67])
@pytest.mark.parametrize(
    ("encoder", "codec"), [("libx264", "h264"), ("libx265", "hevc"), ("ffv1", "hevc"), ("libsvtav1", "av1")]
)
def test_more_than_8_bits_a_channel_are_kept(
    encoder: str, codec: str, width: int, smooth: float, translator: Any, tmp_path: Path
) -> None:
    ramp = np.linspace(20_000, 30_000, width).astype(np.uint16)  # 39 levels of 256
    pictures = np.broadcast_to(ramp[:, None], (3, 64, width, 3)).copy()
    kind = "yuv444p10le" if width % 2 and encoder != "libsvtav1" else "yuv420p10le"
    source = write_clip(tmp_path / "a.mkv", pictures, codec=encoder, pix_fmt=kind)
    seen: list[np.ndarray] = []
    target = translated(
        translator, source, lambda pictures: [seen.extend(pictures), *pictures][1:], crf=4, smooth=smooth
    )
    made, _ = read_clip(target, "rgb48le")
    for shown in (np.stack(seen), made):
        assert shown.dtype == np.uint16
        assert difference(shown, pictures) / 257 < 0.3
        assert len(np.unique(shown[:, 8:-8, 2:-2, 1].mean((0, 1)).round())) > 50
    with av.open(str(target)) as container:
        context: Any = container.streams.video[0].codec_context
        assert context.codec.canonical_name == codec
        assert context.format.components[0].bits == 10


@pytest.mark.parametrize(
    ("text", "rate"), [("23.976023976", Fraction(24000, 1001)), ("29.97", Fraction(2997, 100)), ("12", Fraction(12))]
)
def test_rates_are_those_that_containers_have_room_for(text: str, rate: Fraction) -> None:
    parser = argparse.ArgumentParser()
    add_video_options(parser)
    assert parser.parse_args(["--fps", text]).fps == rate


def planes(path: Path) -> np.ndarray:
    """Luma and colours in the middle of the first picture, as the file counts them."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    values = [np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[16, 16] for plane in frame.planes]
    return np.array(values, int)


@pytest.mark.parametrize("colour", [(65535, 65535, 65535), (0, 0, 0), (65535, 65535, 0), (0, 65535, 0)])
@pytest.mark.parametrize("full", [False, True])
def test_10_bits_count_from_black_to_white(
    colour: tuple[int, int, int], full: bool, translator: Any, tmp_path: Path
) -> None:
    pictures = np.broadcast_to(np.uint16(colour), (2, 64, 64, 3)).copy()
    source = write_clip(tmp_path / "a.mkv", pictures, codec="ffv1", pix_fmt="yuv444p10le", color_range=2 if full else 1)
    seen: list[np.ndarray] = []
    target = translated(translator, source, lambda p: [seen.extend(p), *p][1:], crf=1)
    assert np.abs(np.stack(seen).astype(int) - pictures).max() < (200 if full else 90)
    red, green, blue = np.array(colour) / 65535
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    wanted = [64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8556, 512 + 896 * (red - luma) / 1.5748]
    assert planes(target) == pytest.approx(wanted, abs=1.5 if full else 1)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("codec", CODECS)
def test_colours_stay_in_their_place(codec: str, bits: int, translator: Any, tmp_path: Path) -> None:
    pictures = np.full((2, 64, 96, 3), 30, np.uint8)
    pictures[:, :, 48:, 0] = pictures[:, :, :48, 2] = 200
    kind = "yuv444p" if bits == 8 else "yuv444p10le"
    quality = {} if codec == "prores" else {"crf": 2}
    source = write_clip(tmp_path / "0.mkv", pictures if bits == 8 else pictures * np.uint16(257), pix_fmt=kind)
    for number in range(1, 5):
        seen: list[np.ndarray] = []
        target = tmp_path / f"{number}.mkv"
        source = translated(
            translator, source, lambda p, seen=seen: [seen.extend(p), *p][1:], target, codec=codec, **quality
        )
    row = seen[0][32].astype(float)
    colour = row[:, 0] - row[:, 2]
    reddish = (colour - colour[:8].mean()) / (colour[-8:].mean() - colour[:8].mean())
    assert reddish.sum() == pytest.approx(48, abs=0.2)


def test_a_part_of_a_clip_begins_and_ends_where_asked_with_its_sound(translator: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", drawn(120), sound=True)
    target = translated(translator, source, start=Fraction(3), end=Fraction(4))
    made, times = read_clip(target)
    assert times == [Fraction(i, 25) for i in range(25)]
    assert difference(made, read_clip(source)[0][75:100]) < 4
    sound, whole = sound_of(target), sound_of(source)
    assert [data for _, data in sound] == [data for time, data in whole if 3 <= time < 4]
    assert 0 <= sound[0][0] < 0.03


def test_a_part_between_two_pictures_shows_the_one_that_is_on(translator: Any, tmp_path: Path) -> None:
    pictures = drawn(3)
    source = write_clip(tmp_path / "a.mkv", pictures, times=[0, 10_000, 20_000])
    target = translated(translator, source, start=Fraction(5), end=Fraction(15))
    made, times = read_clip(target)
    assert times == [0, 5]
    assert difference(made, pictures[:2]) < 4
    [shot] = Clip(source, VideoOptions(start=Fraction("10.01"), end=Fraction("10.02"))).shots()
    assert (shot.times, shot.end) == ((0,), 10)


def test_a_part_that_shows_nothing_is_told(translator: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", drawn(3), times=[500, 600, 700], sound=True)
    with pytest.raises(UserError, match=r"a\.mkv: shows no picture between --start and --end"):
        translated(translator, source, end=Fraction("0.1"))
    assert not list((tmp_path / "out").iterdir())


def recorded(path: Path, count: int = 20) -> Path:
    """A recording of so many pictures at 25 a second, with sound, that counts from an odd time near an hour."""
    with av.open(str(path), "w", format="mpegts") as out:
        pictures: Any = out.add_stream("libx264", 25)
        pictures.width, pictures.height, pictures.pix_fmt = 48, 32, "yuv420p"
        sound = out.add_stream("mp2", 48000)
        noise = np.random.default_rng(0).normal(0, 3000, (1, 2 * 1152 * count)).astype(np.int16)
        for number, samples in enumerate(np.split(noise, 2 * count, 1)):
            heard = av.AudioFrame.from_ndarray(np.repeat(samples, 2, 1), "s16", "stereo")
            heard.sample_rate, heard.pts, heard.time_base = 48000, 3600 * 48000 + 1152 * number, Fraction(1, 48000)
            out.mux(sound.encode(heard))
        for number, picture in enumerate(drawn(count)):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = 3600 * 25 + 1 + number, Fraction(1, 25)
            out.mux(pictures.encode(frame))
        for stream in (sound, pictures):
            out.mux(stream.encode(None))
    return path


def test_a_recording_that_counts_from_another_time_begins_at_0_and_keeps_all_its_sound(
    translator: Any, tmp_path: Path
) -> None:
    source = recorded(tmp_path / "a.mts")
    target = translated(translator, source, target=tmp_path / "out" / "a.mp4")
    begin = sound_of(source)[0][0]  # which is heard before anything is seen
    for read in (lambda path: read_clip(path)[1], lambda path: [time for time, _ in sound_of(path)]):
        expected = [float(time - begin) for time in read(source)]
        assert [float(time) for time in read(target)] == pytest.approx(expected, abs=1e-4)
    assert [data for _, data in sound_of(target)] == [data for _, data in sound_of(source)]


@pytest.mark.parametrize("second", [20, 45])
def test_of_a_recording_whose_times_go_back_nothing_is_shown_twice_and_that_is_told(
    second: int, translator: Any, tmp_path: Path
) -> None:
    once, longer = recorded(tmp_path / "once.mts"), recorded(tmp_path / "longer.mts", second)
    source, target = tmp_path / "a b.mts", tmp_path / "a.mp4"
    source.write_bytes(once.read_bytes() + longer.read_bytes())
    told = translate_video(of_frames(same), translator, source, target, Settings(1, 10**6, 95, None))
    assert told is not None
    assert f"{source}: its times go back at 0.81 s, and what is shown twice is left out (ffmpeg -i '{source}'" in told
    assert len(read_clip(target)[0]) == second
    assert abs(len(sound_of(target)) - len(sound_of(longer))) <= 1


def test_of_two_moments_in_a_frame_the_first_is_shown(translator: Any, tmp_path: Path) -> None:
    moments = np.full((40, 64, 96, 3), 40, np.uint8)
    for i, moment in enumerate(moments):
        moment[:, i : i + 40] = 220  # a bar that wanders
    woven = moments[1::2].copy()
    woven[:, 1::2] = moments[::2, 1::2]  # the lower field first, as the encoder will have it
    interlaced = 1 << 18 | 1 << 29  # FFmpeg's AV_CODEC_FLAG_INTERLACED_DCT and _ME
    source = write_clip(
        tmp_path / "a.mkv", woven, codec="mpeg2video", flags=interlaced, bit_rate=10**7, time_base=Fraction(1, 25)
    )
    made, times = read_clip(translated(translator, source, crf=1))
    assert times == read_clip(source)[1]
    combs = [np.abs(np.diff(pictures.astype(int), axis=1)).mean() for pictures in (read_clip(source)[0], made)]
    assert combs[1] < 0.1 * combs[0]
    assert difference(made, moments[::2]) < 1 < difference(made, moments[1::2])


@pytest.mark.parametrize(("fps", "shown"), [("10", [0, 2, 5, 7]), ("50", [i // 2 for i in range(20)])])
def test_another_rate_repeats_or_leaves_out_pictures_and_translates_each_once(
    fps: str, shown: list[int], translator: Any, tmp_path: Path
) -> None:
    source = write_clip(tmp_path / "a.mkv", drawn(10))
    counted: list[int] = []
    made, times = read_clip(
        translated(translator, source, lambda p: [counted.append(len(p)), *p][1:], fps=Fraction(fps), batch_size=3)
    )
    assert [float(t) for t in times] == pytest.approx([i / int(fps) for i in range(len(shown))], abs=1e-3)
    assert difference(made, read_clip(source)[0][shown]) < 4
    assert sum(counted) == len(set(shown))
    assert max(counted) == 3


def test_pixels_that_are_not_square_stay_so(translator: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", drawn(3), sample_aspect_ratio=Fraction(4, 3))
    turn(source, (0, 1, -1, 0))
    with av.open(str(translated(translator, source))) as container:
        assert container.streams.video[0].codec_context.sample_aspect_ratio == Fraction(3, 4)


def test_a_search_that_goes_too_far_begins_at_the_start(translator: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", drawn(120), gop_size=250)
    clip = Clip(source, VideoOptions(start=Fraction("4.4")))
    assert [shot.times for shot in clip.shots()] == [(i * 40,) for i in range(10)]
    clip._timed = lambda start: iter(())  # type: ignore[method-assign]
    assert list(clip.shots()) == []


def test_what_is_no_clip_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no clip")
    (tmp_path / "folder.mp4").mkdir()
    with av.open(str(tmp_path / "sound.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", 48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), "s16", "mono")
        silence.sample_rate = 48000
        out.mux(stream.encode(silence))
    for name, told in {
        "text.mp4": "not a video, or a damaged one", "folder.mp4": "not a file", "missing.mp4": "no such file",
        "sound.mkv": "holds no moving pictures",
    }.items():  # fmt: skip
        with pytest.raises(ImageError, match=f"{name}: {told}"):
            Clip(tmp_path / name, VideoOptions())
