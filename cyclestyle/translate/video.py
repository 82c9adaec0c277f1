"""Clips: frames are read, translated and encoded at once, part by part, so that an interrupted translation goes on.

Parts lie in a hidden folder beside the target, whose name tells what they are made of and how. When all are there, they
are joined with the sound of the source into a file that takes the target's place as a whole.
"""

import fcntl
import glob
import hashlib
import math
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tqdm import tqdm

from cyclestyle.commands import printable
from cyclestyle.errors import UserError
from cyclestyle.files import put_in_place, remove_leftovers
from cyclestyle.images import ImageError
from cyclestyle.translate.clips import Clip, Shot, need_av, share_of_colours
from cyclestyle.translate.encoding import choose_encoding
from cyclestyle.translate.flicker import Smoother
from cyclestyle.translate.parts import (
    LENGTH,
    PartWriter,
    check_sound,
    find_parts,
    holds_sound,
    join_parts,
    last_pictures,
    noted_damage,
    subtitles_lost,
)
from cyclestyle.translate.reading import Frame
from cyclestyle.translate.video_options import CODECS, CONTAINERS, FFMPEG_NAMES, VideoOptions, is_video

if TYPE_CHECKING:
    from cyclestyle.translate.pipeline import Settings
    from cyclestyle.translate.sources import Job
    from cyclestyle.translate.translator import Translator

Translate: TypeAlias = Callable[[Sequence[Frame]], list[Frame]]
MOST_BYTES = 200  # of a name that gets an ending; file systems take 255
SHARES = {Fraction(1): "4:4:4", Fraction(1, 2): "4:2:2", Fraction(1, 4): "4:2:0"}  # of pixels with colours of their own
WAITING = 2  # batches that are read ahead, and that wait to be written
GOES_ON = (
    "what is translated is kept, and the same command goes on from there (with --skip-existing, if others are done)"
)


def check_videos(jobs: Sequence["Job"], options: VideoOptions) -> dict["Job", str]:
    """What can be told of clips before anything is translated. Those that cannot be read are left to their turn.

    Returns:
        those that cannot be translated as the options say, and why.

    Raises:
        UserError: that is so for all jobs.
    """
    wrong: dict[Job, str] = {}
    for job in jobs:
        if not is_video(job.source):
            continue
        try:
            need_av()
            with suppress(ImageError):
                clip = Clip(job.source, options)
                choose_encoding(clip, job.target, options)
                check_sound(clip, job.target.suffix.lower())
        except UserError as error:
            wrong[job] = str(error)
            if len(wrong) == len(jobs):
                raise
    return wrong


def translate_video(
    translate: Translate,
    translator: "Translator",
    source: Path,
    target: Path,
    settings: "Settings",
    tell: bool = True,
) -> str | None:
    """Translate a clip, or go on where a translation of it was interrupted.

    Args:
        translate: frames of one size, to the same.
        translator: what does it, to tell whether an earlier translation was the same.
        tell: print what a translation will not have as its source has it.

    Returns:
        what was wrong with the clip, although what could be read of it is translated; None: nothing.

    Raises:
        UserError: nothing can be read, or the translation cannot be written.
    """
    clip = Clip(source, settings.video)
    if math.prod(clip.size) > settings.most:
        raise UserError(
            f"{source}: refused: {clip.size[0]}x{clip.size[1]} are more than {settings.most / 1e6:.0f} megapixels; "
            "--max-megapixels allows more"
        )
    for line in _changes(clip, target, settings) if tell else []:
        tqdm.write(printable(line))
    key = _key(clip, target, translator, settings)
    folder = target.with_name(f".{_label(target)}.partial-{key}")
    try:
        with _held(folder):
            remove_leftovers(folder)
            _translate_parts(translate, clip, folder, target, settings)
            if not find_parts(folder):
                raise UserError(f"{source}: shows no picture between --start and --end")
            damage = noted_damage(folder) or clip.damage
            _join(clip, folder, target, settings)
    except (OSError, need_av().FFmpegError) as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}; {GOES_ON}") from None
    except KeyboardInterrupt:
        print(printable(f"{target}: {GOES_ON}"), file=sys.stderr)
        raise
    for parts in target.parent.glob(f".{glob.escape(_label(target))}.partial-*"):
        with suppress(OSError, UserError), _held(parts):
            shutil.rmtree(parts)
    return f"{source}: {damage}; what can be read is in {target}" if damage else None


def _changes(clip: Clip, target: Path, settings: "Settings") -> list[str]:
    """Lines that say what a translation will not have as its source has it."""
    options = settings.video
    encoding = choose_encoding(clip, target, options)
    lost = subtitles_lost(clip, target.suffix.lower())
    found = [lost] if lost else []
    if clip.has_alpha and not encoding.alpha:
        keeping = _keeping(clip, target, options)
        found.append(f"{clip.path}: may be transparent in places; white is laid below ({keeping} keeps it)")
    own = FFMPEG_NAMES.get(clip.codec)
    if own and own != encoding.name and not options.codec:
        found.append(f"{clip.path}: is in {own}, its translation in {encoding.name} (--codec chooses)")
    if clip.lossless:
        found.append(f"{clip.path}: is without loss ({clip.codec}), its translation is not")
    if options.crf is not None and encoding.crf is None:
        found.append(f"{clip.path}: its translation is in {encoding.name}, which has no --crf")
    if clip.bits > encoding.bits:
        found.append(f"{clip.path}: has {clip.bits} bits a channel, its translation {encoding.bits}")
    beside = 1 if not settings.compare else 3 if settings.back else 2  # pictures, with even gaps
    share = share_of_colours(encoding.pixels(beside * clip.size[0], clip.size[1]))
    if share_of_colours(clip.kind) > share:
        found.append(f"{clip.path}: has finer colours ({clip.kind}) than its translation ({SHARES[share]})")
    return found


def _keeping(clip: Clip, target: Path, options: VideoOptions) -> str:
    """The options that keep the transparency of a clip."""
    container = CONTAINERS[target.suffix.lower()]
    if container.alpha:  # and another codec was asked for
        return "--codec " + " or ".join(name for name in container.codecs if CODECS[name].alpha)
    clear = {name for name, codec in CODECS.items() if codec.alpha}
    wanted = clear & {options.codec} or clear
    formats = [
        suffix[1:]
        for suffix, other in CONTAINERS.items()
        if other.alpha and wanted & set(other.codecs) and holds_sound(clip, suffix)
    ]
    without = " without --codec" if options.codec and options.codec not in clear else ""
    return f"--format {' or '.join(formats)}{without}"


def _label(target: Path) -> str:
    """The target's name, or what stands for it where a longer one could not be a name."""
    long = len(os.fsencode(target.name)) > MOST_BYTES
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32] if long else target.name


def _join(clip: Clip, folder: Path, target: Path, settings: "Settings") -> None:
    joined = folder / f".tmp-joined{target.suffix}"
    try:
        join_parts(clip, find_parts(folder), joined, CONTAINERS[target.suffix.lower()], settings.provenance)
        put_in_place(joined, target, settings.overwrite)
    finally:
        joined.unlink(missing_ok=True)


def _translate_parts(translate: Translate, clip: Clip, folder: Path, target: Path, settings: "Settings") -> None:
    """Translate what is not in the folder yet; reading, the networks and encoding go on at once."""
    parts = find_parts(folder)
    writer = PartWriter(folder, clip, choose_encoding(clip, target, settings.video))
    smoother = Smoother(clip.smooth, last_pictures(folder, parts)) if clip.smooth else None
    shots = clip.shots(parts[-1].last if parts else None)
    batches = _batches(shots, settings.batch_size)
    writing: deque[Future[None]] = deque()
    with (
        closing(shots),
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(1) as encoder,
        tqdm(
            total=clip.count, initial=LENGTH * len(parts), desc=clip.path.name, unit="frame", disable=None, leave=False
        ) as bar,
    ):
        reading = deque(reader.submit(next, batches, None) for _ in range(WAITING))
        while batch := reading.popleft().result():
            reading.append(reader.submit(next, batches, None))
            try:
                made = translate([Frame(shot.pixels, shot.alpha) for shot in batch])
            except UserError as error:
                raise UserError(f"{clip.path}: {error}") from None
            if smoother:
                made = [Frame(smoother(s.pixels, m.pixels), m.alpha) for s, m in zip(batch, made, strict=True)]
            writing.append(encoder.submit(writer.add, batch, made))
            if len(writing) > WAITING:
                writing.popleft().result()
            bar.update(len(batch))
        for future in writing:
            future.result()
        writer.finish()


def _batches(shots: Iterator[Shot], size: int) -> Iterator[list[Shot]]:
    """So many shots at a time, none in two parts; a translation that goes on has those of one that ran through."""
    while True:
        left = LENGTH
        while left:
            batch = list(islice(shots, min(size, left)))
            if not batch:
                return
            yield batch
            left -= len(batch)


def _key(clip: Clip, target: Path, translator: "Translator", settings: "Settings") -> str:
    """Tells a source, a model and settings from others; what only differs in rounding is the same."""
    status, encoding = clip.path.stat(), choose_encoding(clip, target, settings.video)
    told = (
        (status.st_size, status.st_mtime_ns, settings.video, settings.compare, settings.back is None),
        (translator.model.hash, translator.direction, str(translator.dtype), translator.style),
        (settings.provenance, encoding, need_av().__version__),
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """A folder for this process alone, as long as the block or the process lasts; it is removed if it stays empty.

    Raises:
        UserError: another process holds it.
        OSError: it cannot be made.
    """
    folder.mkdir(exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink == 0:
                raise BlockingIOError("the process that held it has just removed it")
        except BlockingIOError:
            raise UserError(f"{folder}: another process is at work there; wait for it, or end it") from None
        except OSError:  # some network file systems cannot
            pass
        try:
            yield
        finally:
            with suppress(OSError):
                folder.rmdir()
    finally:
        os.close(handle)
