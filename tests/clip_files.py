"""Small clips for tests: drawn, written, translated by a function, and read again by PyAV."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from cyclestyle.provenance import Provenance
from cyclestyle.translate.pipeline import Settings
from cyclestyle.translate.reading import Frame
from cyclestyle.translate.sources import Job
from cyclestyle.translate.video import check_videos, translate_video
from cyclestyle.translate.video_options import VideoOptions

SOUND = {".mp4": "aac", ".mov": "aac", ".mkv": "aac", ".webm": "libopus"}
PICTURES = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
MILLISECOND = Fraction(1, 1000)
BASE = {".mp4": Fraction(1, 12800), ".mov": Fraction(1, 12800), ".mkv": MILLISECOND, ".webm": MILLISECOND}
ORIGIN = Provenance("ab" * 32, "BtoA", "photo to ink")


def drawn(count: int, size: tuple[int, int] = (48, 32)) -> np.ndarray:
    """uint8 (count, H, W, 3): smooth colours that change from frame to frame."""
    width, height = size
    y, x = np.mgrid[:height, :width] / max(size)
    waves = [np.sin(2 * x + y + np.arange(count)[:, None, None] / (5 + c) + 2 * c) for c in range(3)]
    return np.uint8(127 + 90 * np.stack(waves, -1))


def even_times(count: int, suffix: str, rate: int = 25) -> list[int]:
    return [round(i / rate / BASE[suffix]) for i in range(count)]


def write_clip(
    path: Path,
    pictures: np.ndarray,
    times: Sequence[int] | None = None,
    codec: str | None = None,
    sound: bool = False,
    **context: Any,
) -> Path:
    """A clip of uint8 (N, H, W, 3 or 4) or uint16 (N, H, W, 3), nearly without loss, in bt709; times in ticks of BASE.

    Args:
        context: attributes of the encoder, such as pix_fmt.
    """
    codec, base = codec or PICTURES[path.suffix], BASE[path.suffix]
    options = {"crf": "4", "preset": "ultrafast"} if codec.startswith("libx26") else {"crf": "4", "cpu-used": "8"}
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, 25, options)
        stream.height, stream.width = pictures.shape[1:3]
        stream.codec_context.time_base, stream.codec_context.bit_rate = base, 0
        given = {
            "pix_fmt": "yuv420p",
            "colorspace": 1,
            "color_range": 1,
            "color_primaries": 1,
            "color_trc": 1,
        } | context
        for name, value in given.items():
            setattr(stream.codec_context, name, value)
        audio = out.add_stream(SOUND[path.suffix], 48000) if sound else None
        if audio:
            noise = np.random.default_rng(0).normal(0, 0.1, (1, len(pictures) * 1920)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            for resampled in av.AudioResampler(audio.codec_context.format, "mono", 48000).resample(frame):
                out.mux(audio.encode(resampled))
            out.mux(audio.encode(None))
        for picture, time in zip(pictures, times or even_times(len(pictures), path.suffix), strict=True):
            deep = picture.dtype == np.uint16  # of which FFmpeg counts white as 65280
            form = "rgb48le" if deep else "rgba" if picture.shape[2] == 4 else "rgb24"
            shown = av.VideoFrame.from_ndarray(picture - (picture >> 8 if deep else 0), form)
            matrix = {1: 1, 9: 9}.get(given["colorspace"], 5)
            shown = shown.reformat(
                format=given["pix_fmt"], dst_colorspace=matrix, dst_color_range=given["color_range"],
                interpolation="BICUBIC", threads=1,
            )  # fmt: skip
            shown.pts, shown.time_base = time, base
            out.mux(stream.encode(shown))
        out.mux(stream.encode(None))
    return path


def of_frames(translate: Any) -> Any:
    """What takes and gives pixels, to take and give frames."""

    def of_those(frames: Sequence[Frame]) -> list[Frame]:
        made = translate([frame.pixels for frame in frames])
        return [Frame(pixels, frame.alpha) for pixels, frame in zip(made, frames, strict=True)]

    return of_those


def same(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    return list(pictures)


def translated(
    translator: Any,
    source: Path,
    translate: Any = same,
    target: Path | None = None,
    batch_size: int = 1,
    **options: Any,
) -> Path:
    """The clip as it comes out, by default in a folder `out` beside it."""
    (source.parent / "out").mkdir(exist_ok=True)
    target = target or source.parent / "out" / source.name
    job, settings = Job(source, target), Settings(batch_size, 10**6, 95, ORIGIN, video=VideoOptions(**options))
    check_videos([job], settings.video)
    assert translate_video(of_frames(translate), translator, source, target, settings) is None
    return target


def read_clip(path: Path, kind: str = "rgb24") -> tuple[np.ndarray, list[Fraction]]:
    """uint8 (N, H, W, 3), or uint16 (rgb48le), not turned, and times in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert all(frame.time_base is not None for frame in frames)
    pictures = [frame.reformat(format=kind, interpolation="BICUBIC").to_ndarray() for frame in frames]
    if kind == "rgb48le":
        pictures = [picture + np.minimum(picture >> 8, 65535 - picture) for picture in pictures]
    return np.stack(pictures), [frame.pts * frame.time_base for frame in frames]  # type: ignore[operator]


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    """The packets of the sound, with their times in seconds."""
    with av.open(str(path)) as container:
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(audio=0) if p.size and p.pts is not None]


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write into an MP4 that (x, y) is shown at (a x + c y, b x + d y)."""
    a, b, c, d = (value << 16 for value in matrix)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean of absolute differences, in grey levels."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())
