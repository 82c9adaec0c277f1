"""Which encoder writes a clip, and what of the clip it keeps."""

from pathlib import Path
from typing import NamedTuple

from cyclestyle.errors import UserError
from cyclestyle.translate.clips import Clip, need_av, share_of_colours
from cyclestyle.translate.video_options import CODECS, CONTAINERS, FFMPEG_NAMES, Codec, VideoOptions


class Encoding(NamedTuple):
    """How the pictures of a translation are encoded.

    Attributes:
        name: of the codec, as in CODECS.
        crf: quality; None: the codec has no such number.
        bits: 8, 10 or 12, of a channel.
        alpha: whether with transparency.
        fine: whether with colours of the full resolution, where the codec has them.
    """

    name: str
    crf: int | None
    bits: int
    alpha: bool
    fine: bool

    @property
    def codec(self) -> Codec:
        return CODECS[self.name]

    def pixels(self, width: int, height: int) -> str:
        """What FFmpeg calls the pixels of pictures of a size."""
        codec = self.codec
        kind = codec.odd if width % 2 or height % 2 else codec.even
        kind = codec.fine if codec.fine and self.fine else kind
        kind = codec.alpha if codec.alpha and self.alpha else kind
        return kind if self.bits == 8 else f"{kind}{self.bits}le"


def choose_encoding(clip: Clip, target: Path, options: VideoOptions) -> Encoding:
    """With the encoder that is wanted, or of those that keep most of the clip its own, or else the first.

    Raises:
        UserError: the container does not hold it, or it cannot be had for this size or with this build of FFmpeg.
    """
    suffix, own = target.suffix.lower(), FFMPEG_NAMES.get(clip.codec)
    held = CONTAINERS[suffix].codecs
    usable = [_encoding(clip, suffix, name) for name in held if min(clip.size) >= CODECS[name].least]
    usable.sort(key=lambda e: (e.alpha, min(e.bits, clip.bits), e.name == own), reverse=True)
    name = options.codec or usable[0].name
    if name not in held:
        raise UserError(
            f"{clip.path}: {suffix} does not hold {name}; choose --codec {' or '.join(held)}, or --format mkv"
        )
    codec = CODECS[name]
    if min(clip.size) < codec.least:
        raise UserError(
            f"{clip.path}: {name} takes no pictures of less than {codec.least} pixels; choose --codec {usable[0].name}"
        )
    try:
        need_av().Codec(codec.encoder, "w")
    except ValueError:
        raise UserError(
            f"--codec {name}: this PyAV comes without {codec.encoder}; choose another, or pip install av"
        ) from None
    crf = codec.crf if options.crf is None or codec.crf is None else options.crf
    return _encoding(clip, suffix, name)._replace(crf=crf)


def _encoding(clip: Clip, suffix: str, name: str) -> Encoding:
    """What a codec keeps of a clip: 10 or 12 bits a channel where the clip has as many and the encoder writes them.

    In H.264, and 12 of them, only if the clip has them in that codec, as hardly anything plays it.
    """
    codec, own = CODECS[name], FFMPEG_NAMES.get(clip.codec) == name
    alpha = bool(clip.has_alpha and codec.alpha and CONTAINERS[suffix].alpha)
    made = Encoding(name, codec.crf, 8, alpha, share_of_colours(clip.kind) == 1)
    try:
        kinds = {form.name for form in need_av().Codec(codec.encoder, "w").video_formats or ()}
    except ValueError:  # not in this build
        return made
    wanted = [bits for bits in (12, 10) if clip.bits >= bits and (own or (bits == 10 and name != "h264"))]
    for bits in (*wanted, 8, 10):
        if made._replace(bits=bits).pixels(2, 2) in kinds:
            return made._replace(bits=bits)
    return made
