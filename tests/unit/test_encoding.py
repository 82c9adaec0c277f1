"""Which codec a clip gets, and what it keeps of it: bits, transparency, fine colours."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cyclestyle.provenance import read_provenance
from cyclestyle.translate.clips import Clip, Shot
from cyclestyle.translate.pipeline import Settings
from cyclestyle.translate.reading import Frame
from cyclestyle.translate.video import translate_video
from cyclestyle.translate.video_options import VideoOptions
from tests.clip_files import ORIGIN, drawn, of_frames, read_clip, same, translated, write_clip


def test_what_a_translation_has_less_of_is_told(
    translator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "a.mkv", drawn(3, (64, 64)), codec="libx265", pix_fmt="yuv422p10le")
    translated(translator, source, codec="h264")
    lines = "has 10 bits a channel, its translation 8", "has finer colours (yuv422p10le) than its translation (4:2:0)"
    assert capsys.readouterr().out == "".join(f"{source}: {line}\n" for line in lines)


def test_of_an_odd_width_colours_stay_fine_unless_two_are_side_by_side(
    translator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "a.mp4", drawn(3, (65, 64)), pix_fmt="yuv444p")
    for compare, told in ((False, ""), (True, "has finer colours (yuv444p) than its translation (4:2:0)")):
        settings = Settings(1, 10**6, None, ORIGIN, compare=compare)
        target = tmp_path / f"{compare}.mp4"

        def translate(frames: Any, count: int = 1 + compare) -> Any:
            return [Frame(np.tile(frame.pixels, (1, count, 1))) for frame in frames]

        translate_video(translate, translator, source, target, settings)
        with av.open(str(target)) as container:
            assert container.streams.video[0].codec_context.pix_fmt == ("yuv420p" if compare else "yuv444p")
        assert capsys.readouterr().out == (f"{source}: {told}\n" if told else "")


@pytest.mark.parametrize(("encoder", "bits"), [("libx265", 12), ("ffv1", 10)])
def test_12_bits_are_kept_in_the_codec_that_has_them(
    encoder: str, bits: int, translator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = np.full((3, 64, 64, 3), 30_000, np.uint16)
    source = write_clip(tmp_path / "a.mkv", pictures, codec=encoder, pix_fmt="yuv420p12le")
    with av.open(str(translated(translator, source))) as container:
        context: Any = container.streams.video[0].codec_context
        assert (context.codec.canonical_name, context.format.components[0].bits) == ("hevc", bits)
    told = f"{source}: is without loss (ffv1), its translation is not\n"
    told += f"{source}: has 12 bits a channel, its translation 10\n"
    assert capsys.readouterr().out == (told if bits == 10 else "")


@pytest.mark.parametrize("suffix", [".webm", ".mkv"])
def test_a_codec_that_is_written_in_8_bits_makes_way_for_one_that_keeps_10(
    suffix: str, translator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = np.full((3, 64, 64, 3), 30_000, np.uint16)
    source = write_clip(tmp_path / f"a{suffix}", pictures, codec="libsvtav1", pix_fmt="yuv420p10le")
    began = Clip.__init__

    def begin(clip: Clip, *args: Any) -> None:
        began(clip, *args)
        clip.codec = "vp9"  # which this build writes in 8 alone

    monkeypatch.setattr(Clip, "__init__", begin)
    with av.open(str(translated(translator, source))) as container:
        context: Any = container.streams.video[0].codec_context
        made = context.codec.canonical_name
        assert context.format.components[0].bits == 10
    assert made == {".webm": "av1", ".mkv": "hevc"}[suffix]
    name = {"av1": "av1", "hevc": "h265"}[made]
    assert capsys.readouterr().out == f"{source}: is in vp9, its translation in {name} (--codec chooses)\n"


def clear(
    path: Path, codec: str, kind: str, count: int = 9, size: tuple[int, int] = (96, 64)
) -> tuple[Path, np.ndarray]:
    """A clip that fades in from the left, and its pictures, uint8 (N, H, W, 4)."""
    pictures = np.concatenate([drawn(count, size), np.zeros((count, size[1], size[0], 1), np.uint8)], -1)
    pictures[..., 3] = (np.arange(size[0]) * 4 - 60 + 5 * (np.arange(count) % 60)[:, None, None]).clip(0, 255)
    write_clip(path, pictures, codec=codec, pix_fmt=kind, color_range=2 if "rgb" in kind else 1)
    return path, pictures


def shown(path: Path) -> list[Shot]:
    return list(Clip(path, VideoOptions()).shots())


@pytest.mark.parametrize(
    ("source", "codec", "kind", "target", "made", "lines"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p", "b.webm", "vp9", []),
        ("a.webm", "libvpx-vp9", "yuva420p", "b.mkv", "vp9", []),
        ("a.webm", "libvpx-vp9", "yuva420p", "b.mov", "prores", ["is in vp9, its translation in prores"]),
        ("a.mov", "qtrle", "argb", "b.mov", "prores", ["is without loss (qtrle), its translation is not"]),
        ("a.mov", "prores_ks", "yuva444p10le", "b.mov", "prores", ["has 12 bits a channel, its translation 10"]),
        ("a.mkv", "ffv1", "yuva444p10le", "b.mkv", "prores", ["is without loss (ffv1), its translation is not"]),
        ("a.mkv", "ffv1", "yuva420p", "b.mkv", "vp9", ["is without loss (ffv1), its translation is not"]),
    ],
)
def test_a_transparent_clip_stays_so(
    source: str, codec: str, kind: str, target: str, made: str, lines: list[str], translator: Any, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, pictures = clear(tmp_path / source, codec, kind, 60)
    seen: list[np.ndarray] = []
    target_path = translated(translator, path, lambda p: [seen.extend(p), *p][1:], tmp_path / target)
    before, after = shown(path), shown(target_path)
    assert read_clip(target_path)[1] == read_clip(path)[1]
    assert Clip(target_path, VideoOptions()).codec == made
    for shot, picture in zip(after, pictures, strict=True):
        assert shot.alpha is not None
        full = np.iinfo(shot.alpha.dtype).max
        assert np.abs(shot.alpha / full * 255 - picture[..., 3]).max() < 12
        opaque = picture[..., 3] > 250
        assert np.abs(shot.pixels / full * 255 - picture[..., :3])[opaque].mean() < 4
    assert len(before) == len(after) == len(seen)
    assert seen[0].dtype == (np.uint16 if "10" in kind else np.uint8)
    assert read_provenance(target_path) == ORIGIN
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(lines)
    assert all(line in text for line, text in zip(lines, told, strict=True))


def test_white_is_laid_below_where_a_container_holds_no_transparency(
    translator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, pictures = clear(tmp_path / "a.webm", "libvpx-vp9", "yuva420p")
    [*_, last] = shown(translated(translator, path, target=tmp_path / "a.mp4"))
    assert last.alpha is None
    assert (last.pixels[pictures[-1, ..., 3] == 0] > 245).all()
    assert np.abs(last.pixels.astype(int) - pictures[-1, ..., :3])[pictures[-1, ..., 3] > 250].mean() < 4
    line = f"{path}: may be transparent in places; white is laid below (--format mov or mkv or webm keeps it)"
    assert capsys.readouterr().out.splitlines() == [line]
    translated(translator, path, codec="av1")
    assert "white is laid below (--codec vp9 keeps it)" in capsys.readouterr().out
    for codec, hint in (("h264", "--format mov or mkv or webm without --codec"), ("vp9", "--format mkv or webm")):
        translated(translator, path, target=tmp_path / f"{codec}.mp4", codec=codec)
        assert f"white is laid below ({hint} keeps it)" in capsys.readouterr().out
    settings = Settings(1, 10**6, 95, None)
    translate_video(of_frames(same), translator, path, tmp_path / "b.mp4", settings, tell=False)
    assert capsys.readouterr().out == ""


def test_a_transparent_clip_goes_on_where_it_was(translator: Any, tmp_path: Path) -> None:
    path, _ = clear(tmp_path / "a.webm", "libvpx-vp9", "yuva420p", 110)
    count = 0

    def interrupted(pictures: Any) -> Any:
        nonlocal count
        count += len(pictures)
        if count > 100:
            raise KeyboardInterrupt
        return pictures

    with pytest.raises(KeyboardInterrupt):
        translated(translator, path, interrupted)
    count = 0
    target = translated(translator, path, interrupted)
    assert count == 110 - 2 * 48
    assert len(shown(target)) == 110
    assert all(shot.alpha is not None and shot.alpha[:, -1].min() > 240 for shot in shown(target))


def test_a_part_of_a_transparent_clip_has_its_transparency(translator: Any, tmp_path: Path) -> None:
    path, pictures = clear(tmp_path / "a.webm", "libvpx-vp9", "yuva420p", 150)
    made = shown(translated(translator, path, start=Fraction(5), end=Fraction(26, 5)))
    assert len(made) == 5
    for shot, picture in zip(made, pictures[125:], strict=False):
        assert shot.alpha is not None
        assert np.abs(shot.alpha - picture[..., 3].astype(float)).max() < 12


def test_prores_stays_what_it_is_and_has_no_crf(
    translator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ramp = np.linspace(20_000, 30_000, 66).astype(np.uint16)
    pictures = np.broadcast_to(ramp[:, None], (3, 34, 66, 3)).copy()
    for kind in ("yuv422p10le", "yuv444p10le"):
        source = write_clip(tmp_path / f"{kind}.mov", pictures, codec="prores_ks", pix_fmt=kind)
        target = translated(translator, source)
        with av.open(str(source)) as one, av.open(str(target)) as other:
            contexts: list[Any] = [container.streams.video[0].codec_context for container in (one, other)]
            assert contexts[0].codec.canonical_name == contexts[1].codec.canonical_name == "prores"
            assert contexts[0].pix_fmt == contexts[1].pix_fmt
        assert np.abs(shown(target)[0].pixels.astype(int) - pictures[0]).mean() < 128
    assert "finer colours" not in capsys.readouterr().out
    translated(translator, source, target=tmp_path / "b.mov", crf=20)
    assert f"{source}: its translation is in prores, which has no --crf" in capsys.readouterr().out
    mkv = translated(translator, source, target=tmp_path / "out" / "a.mkv")
    with av.open(str(mkv)) as container:  # as the variant is told
        assert container.streams.video[0].codec_context.codec_tag == "ap4h"


@pytest.mark.parametrize("width", [33, 95, 97])
def test_prores_of_an_odd_width_has_its_last_columns(width: int, translator: Any, tmp_path: Path) -> None:
    pictures = np.full((2, 48, width, 3), 40, np.uint8)
    pictures[:, :, width // 2 :] = (200, 60, 120)
    source = write_clip(tmp_path / "a.mkv", pictures, codec="ffv1", pix_fmt="yuv444p")
    made = shown(translated(translator, source, codec="prores"))[0].pixels / 257
    assert np.abs(made[:, -4:] - pictures[0, :, -4:]).max() < 5


def remuxed(path: Path, out: Path, change: Any) -> Path:
    """A transparent webm whose packets a function has changed, from their numbers and themselves."""
    with av.open(str(path)) as source, av.open(str(out), "w") as made:
        stream = made.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.metadata["alpha_mode"] = "1"
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                pts, packet = packet.pts, change(number, packet)
                packet.pts = packet.dts = pts
                packet.time_base, packet.stream = Fraction(1, 1000), stream
                made.mux(packet)
    return out


def test_pictures_of_which_no_transparency_is_told_are_opaque(translator: Any, tmp_path: Path) -> None:
    path, pictures = clear(tmp_path / "a.webm", "libvpx-vp9", "yuva420p", 12)
    part = remuxed(path, tmp_path / "b.webm", lambda n, packet: av.Packet(bytes(packet)) if 4 <= n < 8 else packet)
    made = shown(translated(translator, part))
    assert len(made) == 12
    for number, shot in enumerate(made):
        assert shot.alpha is not None
        if 4 <= number < 8:
            assert shot.alpha.min() > 250
        elif number < 4:
            assert np.abs(shot.alpha - pictures[number, ..., 3].astype(float)).max() < 12
        else:  # made from those that are not there
            assert shot.alpha.min() < 12


@pytest.mark.parametrize("number", [1, 3])
def test_damaged_transparency_is_told_and_other_notes_are_none(number: int, tmp_path: Path) -> None:
    path, _ = clear(tmp_path / "a.webm", "libvpx-vp9", "yuva420p", 3)

    def change(at: int, packet: Any) -> Any:
        made, [data] = av.Packet(bytes(packet)), packet.iter_sidedata()
        content = bytes(data)[8:]
        data.update(number.to_bytes(8, "big") + (b"?" * len(content) if number == 1 else content))
        made.set_sidedata(data)
        return made

    clip = Clip(remuxed(path, tmp_path / "b.webm", change), VideoOptions())
    assert all(shot.alpha is not None and shot.alpha.min() == 255 for shot in clip.shots())
    assert clip.damage == ("its transparency is damaged at 0.00 s" if number == 1 else None)


def test_transparency_changes_its_size_with_the_pictures(tmp_path: Path) -> None:
    parts = [clear(tmp_path / f"{n}.webm", "libvpx-vp9", "yuva420p", 3)[0] for n in range(2)]
    clear(tmp_path / "1.webm", "libvpx-vp9", "yuva420p", 3, (192, 128))
    with (
        av.open(str(parts[0])) as first,
        av.open(str(parts[1])) as second,
        av.open(str(tmp_path / "a.webm"), "w") as out,
    ):
        stream = out.add_stream_from_template(first.streams.video[0], opaque=True)
        stream.metadata["alpha_mode"] = "1"
        for source, shift in ((first, 0), (second, 120)):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.pts = packet.dts = packet.pts + shift
                    packet.stream = stream
                    out.mux(packet)
    for shot in shown(tmp_path / "a.webm"):
        assert shot.alpha is not None
        assert shot.alpha.shape == (64, 96)
        assert shot.alpha[:, 0].max() < 12
        assert shot.alpha[:, -1].min() > 240


def test_a_webm_that_begins_late_is_not_cut_off(tmp_path: Path) -> None:
    times = [7000 + 40 * number for number in range(30)]
    clip = Clip(write_clip(tmp_path / "a.webm", drawn(30), times), VideoOptions())
    assert len(list(clip.shots())) == 30
    assert clip.damage is None
    assert clip.duration == pytest.approx(1.2, abs=0.05)


def test_the_fourth_byte_of_avi_means_nothing(translator: Any, tmp_path: Path) -> None:
    pictures = np.concatenate([drawn(2, (96, 64)), np.zeros((2, 64, 96, 1), np.uint8)], -1)
    with av.open(str(tmp_path / "a.avi"), "w") as out:
        stream: Any = out.add_stream("rawvideo", 25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "bgra"
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        out.mux(stream.encode(None))
    made = shown(translated(translator, tmp_path / "a.avi", target=tmp_path / "a.mov"))
    assert made[0].alpha is None
    assert np.abs(made[0].pixels.astype(int) - pictures[0, ..., :3]).mean() < 4


def test_a_note_of_transparency_counts_for_codecs_that_have_it_alone(translator: Any, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", drawn(2))
    with av.open(str(source)) as clip, av.open(str(tmp_path / "b.mkv"), "w") as out:
        stream = out.add_stream_from_template(clip.streams.video[0], opaque=True)
        stream.metadata["alpha_mode"] = "1"
        for packet in clip.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    assert Clip(translated(translator, tmp_path / "b.mkv"), VideoOptions()).codec == "h264"
