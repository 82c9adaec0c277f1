"""Translated parts of a clip: each encoded for itself, and joined with the sound of the source."""

import heapq
import io
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cyclestyle.errors import UserError
from cyclestyle.files import atomic_write
from cyclestyle.provenance import GENERATED, Provenance
from cyclestyle.translate.clips import BT709, Clip, Shot, need_av
from cyclestyle.translate.encoding import Encoding
from cyclestyle.translate.reading import Frame
from cyclestyle.translate.video_options import CONTAINERS, Container

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer, OutputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

LENGTH = 48  # shots of a part
DAMAGE = "damage.txt"
OF_THE_FILE = {
    *("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "xmp", "digital_source_type"),
    *("creator_tool", "generator_model", "generator_direction"),
}
XMP_BOX = b"uuid" + bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # ISO 16684-3, 1.1.4


class Part(NamedTuple):
    """A part on disk; times are in ticks of the clip.

    Attributes:
        first, last: when its first and its last picture are shown.
        end: when the next part begins.
    """

    path: Path
    first: int
    last: int
    end: int


def find_parts(folder: Path) -> list[Part]:
    """The parts in a folder, in order."""
    parts = [Part(path, *map(int, path.stem.split("_")[1:])) for path in folder.glob("part_*.*")]
    return sorted(parts, key=lambda part: part.first)


def last_pictures(folder: Path, parts: list[Part]) -> tuple[np.ndarray, np.ndarray] | None:
    """Source and translation that the last part ends with, (H, W, 3) each; None if there is no part."""
    if not parts:
        return None
    with np.load(folder / f"last_{parts[-1].last}.npz") as last:
        return last["arr_0"], last["arr_1"]


def noted_damage(folder: Path) -> str | None:
    """What was wrong with the clip as far as there are parts; None: nothing."""
    note = folder / DAMAGE
    return note.read_text() if note.exists() else None


class PartWriter:
    """Encodes shots into parts of LENGTH each.

    Args:
        folder: for the parts.
        clip: gives times and the shape of a pixel.
    """

    def __init__(self, folder: Path, clip: Clip, encoding: Encoding) -> None:
        self._folder, self._clip, self._encoding = folder, clip, encoding
        self._shots: list[Shot] = []

    def add(self, shots: list[Shot], frames: list[Frame]) -> None:
        """Encode the translated frames of shots that follow those before.

        Raises:
            OSError: a part cannot be written.
        """
        for shot, frame in zip(shots, frames, strict=True):
            picture = _planes(frame, self._encoding.alpha)
            if not self._shots:
                self._begin(picture)
            for tick in shot.times:
                self._encode(picture, tick - (self._shots[0] if self._shots else shot).times[0])
            self._shots.append(shot)
            self._last = shot.pixels, frame.pixels
            if len(self._shots) == LENGTH:
                self.finish()

    def finish(self) -> None:
        """Write the part that was begun, if one was."""
        if not self._shots:
            return
        self._container.mux(self._stream.encode(None))
        self._container.close()
        first, last, end = self._shots[0].times[0], self._shots[-1].times[-1], self._shots[-1].end
        if self._clip.smooth:
            with atomic_write(self._folder / f"last_{last}.npz") as file:
                np.savez(file, *self._last)
        if self._clip.damage and noted_damage(self._folder) is None:
            with atomic_write(self._folder / DAMAGE) as file:
                file.write(self._clip.damage.encode())
        with atomic_write(self._folder / f"part_{first}_{last}_{end}.{self._form}") as file:
            file.write(self._encoded.getbuffer())
        for old in self._folder.glob("last_*.npz"):
            if old.name != f"last_{last}.npz":
                old.unlink()
        self._shots = []

    def _begin(self, picture: np.ndarray) -> None:
        av, (height, width) = need_av(), picture.shape[:2]
        os.environ.setdefault("SVT_LOG", "1")  # errors alone
        self._encoded = io.BytesIO()
        encoding, codec = self._encoding, self._encoding.codec
        # MP4 keeps times best, but neither what VP9 says of transparency, nor ProRes.
        self._form = "mov" if encoding.name == "prores" else "mkv" if encoding.alpha else "mp4"
        self._container: OutputContainer = av.open(self._encoded, "w", format=CONTAINERS[f".{self._form}"].format)
        quality = {} if encoding.crf is None else {"crf": str(encoding.crf)}
        self._stream: VideoStream = self._container.add_stream(
            codec.encoder, self._clip.rate.limit_denominator(1 << 16), codec.options | quality
        )
        context: Any = self._stream.codec_context
        context.width, context.height = width, height
        context.pix_fmt = encoding.pixels(width, height)
        context.time_base, context.bit_rate = self._clip.tick, 0
        context.sample_aspect_ratio = self._clip.aspect
        context.max_b_frames = 0  # with pictures out of order, MP4 keeps uneven times only roughly
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = BT709
        self._converter = _converter(picture, context.pix_fmt, codec.site, self._clip.tick)

    def _encode(self, picture: np.ndarray, tick: int) -> None:
        from av import VideoFrame

        if picture.dtype == np.uint16:
            picture = picture.copy()
            picture[..., :3] -= picture[..., :3] >> 8  # as FFmpeg counts white as 65280
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), _kind(picture))
        frame.pts, frame.time_base = tick, self._clip.tick
        self._converter.push(frame)
        self._container.mux(self._stream.encode(self._converter.pull()))


def _planes(frame: Frame, transparent: bool) -> np.ndarray:
    """(H, W, 3), laid over white, or (H, W, 4) if the encoder takes transparency."""
    if frame.alpha is None:
        return frame.pixels
    if transparent:
        return np.dstack([frame.pixels, frame.alpha])
    full = np.iinfo(frame.pixels.dtype).max
    share = frame.alpha[..., None] / np.float32(full)
    return (full - (full - frame.pixels) * share).round().astype(frame.pixels.dtype)


def _kind(picture: np.ndarray) -> str:
    if picture.shape[2] == 4:
        return "rgba64le" if picture.dtype == np.uint16 else "rgba"
    return "rgb48le" if picture.dtype == np.uint16 else "rgb24"


def _converter(picture: np.ndarray, kind: str, site: str, tick: Fraction) -> Any:
    """FFmpeg's `scale`, from pictures like this to BT.709 in the limited range; PyAV's reformatter knows no site."""
    from av import VideoFormat
    from av.filter import Graph

    graph, (height, width) = Graph(), picture.shape[:2]
    graph.threads = 1  # of several, one may write over the first row of another
    source = graph.add_buffer(width=width, height=height, format=VideoFormat(_kind(picture)), time_base=tick)
    flags = "bicubic+full_chroma_inp+full_chroma_int+accurate_rnd"
    scale = graph.add("scale", f"out_color_matrix=bt709:out_range=tv:out_chroma_loc={site}:flags={flags}")
    graph.link_nodes(source, scale, graph.add("format", f"pix_fmts={kind}"), graph.add("buffersink"))
    graph.configure()
    return graph


def check_sound(clip: Clip, suffix: str) -> None:
    """Whether a container holds the sound of a clip.

    Raises:
        UserError: it does not; which would.
    """
    with clip.open() as source:
        for stream in source.streams.audio:
            if not _holds(suffix, stream):
                holding = " or ".join(name[1:] for name in CONTAINERS if _holds(name, stream))
                raise UserError(
                    f"{clip.path}: {suffix} does not hold its sound ({stream.codec_context.name}); "
                    + (f"choose --format {holding}" if holding else "convert that first")
                )


def holds_sound(clip: Clip, suffix: str) -> bool:
    """Whether a container holds the sound of a clip."""
    with clip.open() as source:
        return all(_holds(suffix, stream) for stream in source.streams.audio)


def subtitles_lost(clip: Clip, suffix: str) -> str | None:
    """That a container does not hold the subtitles of a clip, and which would; None: it does."""
    with clip.open() as source:
        subtitles = [stream for stream in source.streams.subtitles if stream.codec_context]
        kinds = {s.codec_context.name for s in subtitles if not _holds(suffix, s)}
        if not kinds:
            return None
        holding = [name[1:] for name in CONTAINERS if all(_holds(name, s) for s in subtitles)]
        return f"{clip.path}: {suffix} does not hold its subtitles ({', '.join(sorted(kinds))}), which are left out" + (
            f"; --format {' or '.join(holding)} keeps them" if holding else ""
        )


def _holds(suffix: str, stream: Any) -> bool:
    av = need_av()
    try:
        with av.open(io.BytesIO(), "w", format=CONTAINERS[suffix].format) as out:
            made = out.add_stream_from_template(stream, opaque=True)
            out.start_encoding()
            if str(stream.codec_context.name).startswith("pcm_"):  # which MP4 may refuse only at its end
                packet: Any = av.Packet(bytes(64))
                packet.pts, packet.dts, packet.time_base, packet.stream = 0, 0, stream.time_base, made
                out.mux_one(packet)
                out.close()
    except (ValueError, av.FFmpegError):
        return False
    return True


def join_parts(clip: Clip, parts: list[Part], path: Path, container: Container, origin: Provenance | None) -> None:
    """Write parts one after another, with the sound and the subtitles of the clip, none of it encoded again.

    Raises:
        OSError: the file cannot be written.
    """
    av = need_av()
    with (
        clip.open() as source,
        av.open(str(parts[0].path)) as first,
        av.open(str(path), "w", format=container.format, container_options=container.options) as out,
    ):
        tags = {name: text for name, text in source.metadata.items() if name.lower() not in OF_THE_FILE}
        if origin and container.format in ("matroska", "webm"):
            tags |= {"XMP": origin.packet().decode(), "DIGITAL_SOURCE_TYPE": GENERATED, "CREATOR_TOOL": origin.program,
                     "GENERATOR_MODEL": origin.model, "GENERATOR_DIRECTION": origin.direction}  # fmt: skip
        out.metadata.update(tags)
        video = out.add_stream_from_template(first.streams.video[0], opaque=True)
        if first.streams.video[0].metadata.get("alpha_mode"):
            video.metadata["alpha_mode"] = "1"
        if container.format in ("mp4", "mov") and video.codec_context.name == "hevc":
            video.codec_context.codec_tag = "hvc1"  # the only one that Apple plays
        if video.codec_context.name.startswith("prores"):
            video.codec_context.codec_tag = first.streams.video[0].codec_context.codec_tag  # tells 4:2:2 from 4:4:4:4
        video.codec_context.framerate = clip.rate.limit_denominator(1 << 16)
        carried: dict[int, Stream] = {}
        for stream in _others(source, path.suffix.lower()):
            carried[stream.index] = out.add_stream_from_template(stream, opaque=True)
            carried[stream.index].metadata.update(stream.metadata)
            carried[stream.index].disposition = stream.disposition
        if path.suffix.lower() == ".mkv":
            for attached in source.streams.attachments:  # fonts of subtitles
                out.add_attachment(attached.name or "", attached.mimetype or "", attached.data)
        if clip.is_whole:
            out.set_chapters(source.chapters())
        out.start_encoding()
        packets = heapq.merge(_pictures(parts, clip.tick, video), _passed_through(clip, source, carried), key=_when)
        for packet in packets:
            out.mux_one(packet)
    if origin and container.format in ("mp4", "mov"):
        xmp = origin.packet()
        with path.open("ab") as file:
            file.write(struct.pack(">I", 4 + len(XMP_BOX) + len(xmp)) + XMP_BOX + xmp)


def _others(source: "InputContainer", suffix: str) -> list[Any]:
    """Streams that are passed through: all sound, and the subtitles that the container holds."""
    return [*source.streams.audio, *(s for s in source.streams.subtitles if s.codec_context and _holds(suffix, s))]


def _when(packet: "Packet[Any]") -> Fraction:
    time = packet.dts if packet.dts is not None else packet.pts
    return (time or 0) * packet.time_base


def _pictures(parts: list[Part], tick: Fraction, video: "VideoStream") -> Iterator["Packet[Any]"]:
    """The packets of all parts, at their times in the clip."""
    av = need_av()
    for part in parts:
        with av.open(str(part.path), options={"ignore_editlist": "1"}) as container:  # or times would be rounded
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
        unit = tick / stream.time_base
        times = [packet.pts for packet in packets]
        shift = int(part.first * unit) - times[0]
        following = [*times[1:], int(part.end * unit) - shift]
        for packet, time, end in zip(packets, times, following, strict=True):
            packet.pts = packet.dts = time + shift
            packet.duration = end - time
            packet.stream = video
            yield packet


def _passed_through(clip: Clip, source: "InputContainer", carried: dict[int, "Stream"]) -> Iterator["Packet[Any]"]:
    """Packets of the clip's other streams that belong to the part, as far as they can be read."""
    av = need_av()
    if not carried:
        return
    reached: dict[int, int] = {}
    behind: set[int] = set()
    with suppress(av.FFmpegError):
        for packet in source.demux([source.streams[index] for index in carried]):
            if packet.pts is None or not packet.size:
                continue
            time = packet.pts * packet.time_base
            if (clip.starts_late and time < clip.shift) or (clip.stop is not None and time >= clip.stop):
                continue
            shift = round(clip.shift / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            number, last = packet.stream_index, reached.get(packet.stream_index, packet.dts)
            if packet.dts < last or (number in behind and packet.dts == last):  # times go back; no container takes that
                behind.add(number)
                continue
            behind.discard(number)
            reached[number] = packet.dts
            packet.stream = carried[number]
            yield packet
