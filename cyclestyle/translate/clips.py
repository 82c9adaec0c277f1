"""Video files as they are: pictures upright in sRGB, each with its times."""

import shlex
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cyclestyle.errors import UserError
from cyclestyle.images import ImageError
from cyclestyle.translate import clip_alpha
from cyclestyle.translate.video_options import READ_ONLY, VideoOptions

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

Timed: TypeAlias = "tuple[VideoFrame, Fraction]"
SAFE = 2  # seconds before the wanted picture that a search goes to, as those just behind a key frame may need others
GAP = Fraction(1, 2)  # seconds that a whole file may be shorter than it says, or that times may go back in it
UNSPECIFIED, BT709, WIDE_GAMUT, HDR = 2, 1, 9, (16, 18)  # as H.273 counts them
FULL = 2  # of FFmpeg's ranges
UNUSED_ALPHA = {"rawvideo", "huffyuv"}  # in AVI, whose fourth byte means nothing


@dataclass(frozen=True)
class Shot:
    """One picture of a clip.

    Attributes:
        pixels: uint8 (H, W, 3), sRGB; uint16 of clips with more than 8 bits a channel.
        alpha: of the same type, (H, W); None if the clip has no transparency.
        times: when it is shown, in ticks of the result; several where the rate is raised.
        end: the tick at which the next one follows.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    times: tuple[int, ...]
    end: int


def need_av() -> Any:
    """PyAV.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ModuleNotFoundError:
        raise UserError("clips need PyAV: pip install 'cyclestyle[video]'") from None
    return av


def share_of_colours(kind: str) -> Fraction:
    """For how many of its pixels a format of FFmpeg's has colours of their own: 1 in 4:4:4, a quarter in 4:2:0."""
    form = need_av().VideoFormat(kind)
    if len(form.components) < 3:
        return Fraction(0)
    return Fraction(1) if form.is_rgb else Fraction(form.chroma_width(4) * form.chroma_height(4), 16)


class Clip:
    """A video file, to be read from any picture on.

    Attributes:
        size: width and height, before pictures are turned.
        codec: what FFmpeg calls it.
        tick: seconds that the times of shots count.
        rate: pictures a second, of the result, on average.
        duration: in seconds; None if the file does not say.
        aspect: width of a pixel divided by its height, upright.
        has_alpha: whether it can say where it is transparent.
        bits: of a channel.
        kind: what FFmpeg calls its pixels.
        lossless: whether its codec keeps every pixel as it was.
        smooth: as in the options.
        damage: what was wrong, once it has been read; None: nothing was.

    Raises:
        ImageError: the file is missing or no video, or holds no picture that can be read.
    """

    def __init__(self, path: Path, options: VideoOptions) -> None:
        self.path, self._options = path, options
        self.damage: str | None = None
        with self.open() as container:
            stream = _pictures(container)
            self.size = stream.codec_context.width, stream.codec_context.height
            self.codec: str = stream.codec_context.codec.canonical_name
            self.lossless = stream.codec_context.codec.lossless and not stream.codec_context.codec.lossy
            kind = stream.codec_context.format
            marked = {key.lower(): value for key, value in stream.metadata.items()}.get("alpha_mode") == "1"
            self._alpha_beside = marked and self.codec in clip_alpha.CODECS
            self._beside: clip_alpha.AlphaBeside | None = None
            inside = kind is not None and any(part.is_alpha for part in kind.components)
            unused = container.format.name == "avi" and self.codec in UNUSED_ALPHA
            self.has_alpha = self._alpha_beside or (inside and not unused)
            self.bits: int = kind.components[0].bits if kind is not None and kind.components else 8
            self.kind: str = kind.name if kind is not None else "yuv420p"
            self.smooth = options.smooth
            self._origin = Fraction(container.start_time or 0, 1_000_000)
            self.duration = Fraction(container.duration, 1_000_000) if container.duration else None
            if self.duration is not None and container.format.name.startswith("matroska"):
                self.duration -= self._origin  # as that counts from 0
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            self._usual = 1 / rate
            self.rate = options.fps or rate
            self.tick = 1 / options.fps if options.fps else stream.time_base or Fraction(1, 1000)
            self._aspect = Fraction(stream.codec_context.sample_aspect_ratio or 1)
        if self.duration is not None and options.start >= self.duration:
            raise UserError(f"{path}: lasts {float(self.duration):.2f} s; --start must be before that")

    @cached_property
    def _first(self) -> tuple["VideoFrame", Fraction]:
        """The first picture of the part, and its time."""
        with closing(self._frames(self._origin + self._options.start)) as frames:
            for frame, time, _ in frames:
                return frame, time
        if self._options.start:
            raise UserError(f"{self.path}: has no picture after --start {float(self._options.start):g}")
        raise ImageError(f"{self.path}: holds no picture that can be read")

    @cached_property
    def shift(self) -> Fraction:
        """Time in the source, in seconds, that becomes 0."""
        if self._options.start:
            return self._first[1]
        return self._origin if self.path.suffix.lower() in READ_ONLY else Fraction(0)  # those count from anywhere

    @cached_property
    def stop(self) -> Fraction | None:
        """Time in the source, in seconds, at which the part ends."""
        return None if self._options.end is None else self._origin + self._options.end

    @property
    def starts_late(self) -> bool:
        """Whether the part begins behind the first picture."""
        return bool(self._options.start)

    @property
    def aspect(self) -> Fraction:
        matrix = _matrix(self._first[0])
        return 1 / self._aspect if matrix is not None and _is_turned(matrix) else self._aspect

    @property
    def count(self) -> int | None:
        """About how many shots there are."""
        if self.duration is None:
            return None
        end = self.duration if self._options.end is None else min(self._options.end, self.duration)
        return max(1, round((end - self._options.start) * min(self.rate, 1 / self._usual)))

    def shots(self, after: int | None = None) -> Generator[Shot, None, None]:
        """The shots in order, or those behind a tick; no more than two are decoded ahead.

        Raises:
            UserError: there is none.
        """
        from av.video.reformatter import VideoReformatter

        size, reformatter = (self._first[0].width, self._first[0].height), VideoReformatter()
        start = self._first[1] if after is None else self.shift + after * self.tick
        self.damage = None
        with closing(self._frames(start)) as frames:
            for number, (frame, time, following) in enumerate(frames):
                if self.stop is not None:
                    if time >= self.stop:
                        break
                    following = min(following, self.stop)
                first, end = (ceil((t - self.shift) / self.tick) for t in (time, following))
                if after is None and number == 0:
                    first = floor((time - self.shift) / self.tick)  # so that there is one, however low the rate
                times = tuple(range(first, end)) if self._options.fps else (first,)
                if times and (after is None or first > after):
                    try:
                        yield Shot(*self._shown(frame, size, reformatter), times, end)
                    except need_av().FFmpegError as error:
                        raise ImageError(f"{self.path}: its colours cannot be read: {error.strerror}") from None

    def _shown(
        self, frame: "VideoFrame", size: tuple[int, int], reformatter: "VideoReformatter"
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels in sRGB, and alpha if there is any, turned as the file says; `size` is that of the first frame.

        The reformatter keeps what it has computed, which takes seconds for a high dynamic range.
        """
        from av.video.reformatter import Colorspace, Interpolation

        wanted: dict[str, Any] = {}
        if frame.colorspace == UNSPECIFIED:  # players take small ones for television of the old kind
            small = frame.width < 1280 and frame.height <= 576
            wanted["src_colorspace"] = Colorspace.ITU601 if small else Colorspace.ITU709
        if frame.color_trc in HDR or frame.color_primaries == WIDE_GAMUT:
            wanted |= {"dst_color_trc": BT709, "dst_color_primaries": BT709}
        careful = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
        deep, form = self.bits > 8, "rgba" if self.has_alpha else "rgb"
        kind = f"{form}{16 * len(form)}le" if deep else "rgba" if self.has_alpha else "rgb24"
        rgb = reformatter.reformat(frame, *size, kind, interpolation=careful, **wanted)
        pixels: np.ndarray = rgb.to_ndarray()
        pixels, alpha = pixels[..., :3], pixels[..., 3] if self.has_alpha else None
        if deep and not frame.format.is_rgb and len(frame.format.components) > 2 and frame.color_range != FULL:
            pixels += np.minimum(pixels >> 8, 65535 - pixels)  # as FFmpeg counts white as 65280
        if deep and alpha is not None:  # whose lowest bits it leaves empty
            alpha = (alpha * (65535 / (65536 - 2 ** (16 - self.bits)))).round().clip(0, 65535).astype(np.uint16)
        beside = self._beside.take(frame.pts, pixels.shape[:2]) if self._beside else None
        if alpha is not None and beside is not None:
            alpha = beside.astype(alpha.dtype) * (257 if deep else 1)
        matrix = _matrix(frame)
        return _upright(pixels, matrix), None if alpha is None else _upright(alpha, matrix)

    @property
    def is_whole(self) -> bool:
        """Whether all of it is translated."""
        return not self._options.start and self._options.end is None

    def open(self) -> "InputContainer":
        """The file, to be closed by the caller."""
        av = need_av()
        if not self.path.is_file():
            raise ImageError(f"{self.path}: " + ("not a file" if self.path.exists() else "no such file"))
        try:
            container: InputContainer = av.open(str(self.path), metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            reason = error.strerror if isinstance(error, PermissionError) else "not a video, or a damaged one"
            raise ImageError(f"{self.path}: {reason}") from None
        try:
            _pictures(container)
        except ValueError:
            container.close()
            raise ImageError(f"{self.path}: holds no moving pictures that can be read") from None
        return container

    def _frames(self, start: Fraction) -> Generator[tuple["VideoFrame", Fraction, Fraction], None, None]:
        """Frames from what is shown at a time on, each with its time (not before that) and that of the next one."""
        last = None
        for frame, time in _deinterlaced(self._timed(start)):
            if last is not None and time < last[1] - GAP and self.damage is None:
                self.damage = (
                    f"its times go back at {float(last[1] - self._origin):.2f} s, and what is shown twice is left out "
                    f"(ffmpeg -i {shlex.quote(str(self.path))} -c copy whole.mkv may mend it)"
                )
            if last is not None and time > last[1]:  # a broken file may repeat a time
                if time > start:
                    yield last[0], max(last[1], start), time
                last = frame, time
            last = last or (frame, time)
        if last is not None:
            frame, time = last
            end = time + ((frame.duration or 0) * (frame.time_base or 0) or self._usual)
            if end > start:
                yield frame, max(time, start), end

    def _timed(self, start: Fraction) -> Generator[tuple["VideoFrame", Fraction], None, None]:
        """Frames from a key frame before a time on, or from the first one."""
        if start - SAFE > self._origin and not self._alpha_beside:  # which need not have its key frames where these are
            found = False
            with closing(self._decoded(start - SAFE)) as frames:
                for frame, time in frames:
                    if not found and time > start:
                        break  # the search went too far
                    found = True
                    yield frame, time
            if found:
                return
        yield from self._decoded(None)

    def _decoded(self, place: Fraction | None) -> Generator[tuple["VideoFrame", Fraction], None, None]:
        av = need_av()
        with self.open() as container:
            stream = _pictures(container)
            stream.thread_type = "AUTO"
            self._beside = clip_alpha.AlphaBeside(self.codec) if self._alpha_beside else None
            base = stream.time_base or Fraction(1, 1000)
            if place is not None:
                with suppress(av.FFmpegError):
                    container.seek(int(place / base), stream=stream)
            time, reached, begun = self._origin, self._origin, place is None
            try:
                for packet in container.demux():
                    if packet.pts is not None:
                        reached = max(reached, (packet.pts + (packet.duration or 0)) * packet.time_base)
                    if packet.stream.index != stream.index:
                        continue
                    try:
                        if self._beside:
                            self._beside.read(packet)
                    except av.FFmpegError:
                        self.damage = (
                            self.damage or f"its transparency is damaged at {float(time - self._origin):.2f} s"
                        )
                    try:
                        frames = stream.decode(packet)
                    except av.FFmpegError:
                        if begun:  # just behind a place that was searched, pictures may lack others
                            self.damage = f"damaged at {float(time - self._origin):.2f} s"
                        continue
                    for frame in frames:
                        begun = True
                        time = time + self._usual if frame.pts is None else frame.pts * base
                        yield frame, time
            except av.FFmpegError:
                self.damage = f"damaged after {float(time - self._origin):.2f} s"
            if self.duration is not None and reached < self._origin + self.duration - GAP:
                self.damage = f"cut off after {float(time - self._origin):.2f} of {float(self.duration):.2f} s"


def _pictures(container: "InputContainer") -> "VideoStream":
    """The first stream of moving pictures that can be decoded; covers are none."""
    for stream in container.streams.video:
        if stream.codec_context is not None and "attached_pic" not in str(stream.disposition):
            return stream
    raise ValueError


def _deinterlaced(frames: Iterable[Timed]) -> Iterator[Timed]:
    """Frames as they are, but of those that hold two moments, row by row, as television had them, the first alone."""
    key, waiting = None, deque[Fraction]()
    graph: Any = None
    for frame, time in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame, time
            continue
        if key != (key := (frame.width, frame.height, frame.format.name)):
            yield from _filtered(graph, None, waiting)
            graph = _deinterlacer(frame)
        waiting.append(time)
        yield from _filtered(graph, frame, waiting)
    yield from _filtered(graph, None, waiting)


def _deinterlacer(frame: "VideoFrame") -> Any:
    """FFmpeg's bwdif; it gives a frame for each."""
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _filtered(graph: Any, frame: "VideoFrame | None", times: deque[Fraction]) -> Iterator[Timed]:
    """What a graph has ready when it gets a frame, or at the end, with the first of the times that wait."""
    if graph is None:
        return
    av = need_av()
    graph.push(frame)
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            made = graph.pull()
            yield made, times.popleft()


def _matrix(frame: "VideoFrame") -> np.ndarray | None:
    """How a frame is to be shown: (2, 2), from a place (x, y) before to one after."""
    given: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if given is None else np.frombuffer(bytes(given), np.int32).reshape(3, 3)[:2, :2].T


def _is_turned(matrix: np.ndarray) -> bool:
    return bool(abs(int(matrix[0, 0])) < abs(int(matrix[0, 1])))


def _upright(pixels: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """(H, W) or (H, W, 3), as a matrix says that it is to be shown."""
    if matrix is None:
        return np.ascontiguousarray(pixels)
    if _is_turned(matrix):
        pixels, matrix = pixels.swapaxes(0, 1), matrix[:, ::-1]
    return np.ascontiguousarray(pixels[:: -1 if matrix[1, 1] < 0 else 1, :: -1 if matrix[0, 0] < 0 else 1])
