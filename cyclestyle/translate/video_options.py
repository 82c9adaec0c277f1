"""How clips are translated: what the command takes for them, and which codecs a container holds."""

import argparse
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple


class Codec(NamedTuple):
    """An encoder.

    Attributes:
        encoder: what FFmpeg calls it.
        crf: the default quality, at which a difference is hard to see; lower is better and larger. None: it has none.
        worst: the largest crf.
        options: of the encoder.
        least: pixels that a side must have.
        even, odd: pixel formats of 8 bits, for even sides and for an odd width or height.
        fine: that for colours of the full resolution; None: they get half of it.
        alpha: that with transparency; None: it has none.
        site: where colours of half the resolution lie, if a file does not say: left (below the first of two pixels) or
            center.
    """

    encoder: str
    crf: int | None
    worst: int
    options: dict[str, str]
    least: int = 1
    even: str = "yuv420p"
    odd: str = "yuv420p"
    fine: str | None = None
    alpha: str | None = None
    site: str = "left"


# H.264 and H.265 cannot halve the colours of an odd side, and ProRes leaves out the last; x265 4.2 writes outside its
# memory below one block.
CODECS = {
    "h264": Codec("libx264", 18, 51, {}, odd="yuv444p"),
    "h265": Codec("libx265", 20, 51, {"x265-params": "log-level=error"}, least=64, odd="yuv444p"),
    "vp9": Codec(
        "libvpx-vp9", 24, 63, {"deadline": "good", "cpu-used": "3", "row-mt": "1"}, alpha="yuva420p", site="center"
    ),
    "av1": Codec("libsvtav1", 24, 63, {"preset": "7"}, least=4, site="center"),
    "prores": Codec(
        "prores_ks", None, 0, {"vendor": "apl0"}, even="yuv422p", odd="yuv444p", fine="yuv444p", alpha="yuva444p"
    ),
}
FFMPEG_NAMES = {"h264": "h264", "hevc": "h265", "vp9": "vp9", "av1": "av1", "prores": "prores"}


class Container(NamedTuple):
    """What a suffix stands for.

    Attributes:
        format: what FFmpeg calls it.
        codecs: that it holds; the first is taken where the source has another.
        options: of the writer.
        alpha: whether it has room for transparency.
    """

    format: str
    codecs: tuple[str, ...]
    options: dict[str, str] = {}  # noqa: RUF012, nobody changes it
    alpha: bool = True


FAST_START = {"movflags": "+faststart"}  # a browser can play what it has not loaded whole
CONTAINERS = {
    ".mp4": Container("mp4", ("h264", "h265", "vp9", "av1"), FAST_START, alpha=False),
    ".m4v": Container("mp4", ("h264", "h265", "vp9", "av1"), FAST_START, alpha=False),
    ".mov": Container("mov", ("h264", "h265", "prores"), FAST_START),
    ".mkv": Container("matroska", ("h264", "h265", "vp9", "av1", "prores")),
    ".webm": Container("webm", ("vp9", "av1")),
}
VIDEO_SUFFIXES = frozenset(CONTAINERS)  # that are read and written
READ_ONLY = frozenset({".3gp", ".avi", ".flv", ".m2ts", ".mpeg", ".mpg", ".mts", ".ogv", ".vob", ".wmv"})  # become .mp4


def is_video(path: Path) -> bool:
    """Whether a file is a clip, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES | READ_ONLY


@dataclass(frozen=True)
class VideoOptions:
    """How clips are translated.

    Attributes:
        fps: pictures a second; None: each at its time, as in the source.
        start, end: of the part that is translated, in seconds; the end is not part of it.
        codec: one of CODECS; None: that of the source, if it can be written.
        crf: quality; None: the codec's default.
        smooth: 0 to 1, how much flicker is taken away.
    """

    fps: Fraction | None = None
    start: Fraction = Fraction(0)
    end: Fraction | None = None
    codec: str | None = None
    crf: int | None = None
    smooth: float = 0

    def given(self) -> list[str]:
        """The command's options whose values are not the defaults."""
        return [f"--{field.name}" for field in fields(self) if getattr(self, field.name) != field.default]


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """The options that concern clips alone."""
    group = parser.add_argument_group("clips (mp4, mov, webm, mkv; avi, mts, wmv and others become mp4)")
    group.add_argument("--start", type=_seconds, default=Fraction(0), metavar="TIME", help="such as 1:30 or 90.5")
    group.add_argument("--end", type=_seconds, metavar="TIME", help="translate up to here")
    group.add_argument("--fps", type=_rate, metavar="N", help="pictures a second; default: each at its own time")
    group.add_argument("--codec", choices=CODECS, help="default: that of the clip, if it is one of these")
    defaults = ", ".join(f"{codec.crf} for {name}" for name, codec in CODECS.items() if codec.crf)
    group.add_argument(
        "--crf", type=int, metavar="N", help=f"quality, lower is better and larger (default: {defaults})"
    )
    group.add_argument(
        "--smooth",
        type=float,
        default=0.0,
        metavar="S",
        help="0 to 1: against flicker, draw each picture towards the one before; costs some detail (default: 0)",
    )


def video_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> VideoOptions:
    """What was given, or an error of the parser that says what is wrong."""
    if args.end is not None and args.end <= args.start:
        parser.error(f"--end must be after --start: {float(args.end):g} s is not after {float(args.start):g} s")
    worst = CODECS[args.codec].worst if args.codec else min(codec.worst for codec in CODECS.values() if codec.worst)
    if args.crf is not None and worst == 0:
        parser.error(f"--codec {args.codec} has no --crf; leave it out")
    if args.crf is not None and not 0 <= args.crf <= worst:
        parser.error(f"--crf must be 0 to {worst}{f' for {args.codec}' if args.codec else ''}, not {args.crf}")
    if not 0 <= args.smooth <= 1:
        parser.error(f"--smooth must be 0 to 1, not {args.smooth:g}")
    if args.smooth and args.compare:
        parser.error("--smooth takes translations alone: leave out --compare")
    return VideoOptions(args.fps, args.start, args.end, args.codec, args.crf, args.smooth)


def _seconds(text: str) -> Fraction:
    """'90.5', '1:30.5' or '0:01:30.5'."""
    parts = text.split(":")
    try:
        numbers = [Fraction(part) for part in parts if "/" not in part]
    except ValueError:
        numbers = []
    if len(numbers) != len(parts) or len(parts) > 3 or not 0 <= min(numbers) <= max(numbers) < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time; write seconds as 90.5, or 1:30.5")
    return sum((number * 60**power for power, number in enumerate(reversed(numbers))), Fraction(0))


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not Fraction(1, 1000) <= rate <= 1000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a rate; write pictures a second as 25, 29.97 or 30000/1001")
    return rate.limit_denominator(1001)  # that of television; containers have no room for many digits
