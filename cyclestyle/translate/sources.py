"""Which files to translate, and where each translation goes."""

import glob
import os
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cyclestyle.errors import UserError
from cyclestyle.images import find_images, readable_suffixes
from cyclestyle.provenance import read_provenance
from cyclestyle.translate.video_options import READ_ONLY, VIDEO_SUFFIXES, is_video
from cyclestyle.translate.writing import suffixes


@dataclass(frozen=True)
class Job:
    """One picture or clip to translate.

    Attributes:
        target: where the translation goes.
        back: where that translated back goes, if it is wanted.
    """

    source: Path
    target: Path
    back: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All that is written; the translation, which says that a job is done, comes first and is written last."""
        return [self.target] if self.back is None else [self.target, self.back]


def find_jobs(
    inputs: list[str],
    out: Path,
    existing: str = "refuse",
    kind: str | None = None,
    ending: str = "",
    shard: tuple[int, int] = (1, 1),
    back: bool = False,
) -> list[Job]:
    """Resolve files, folders (with all below them) and globs.

    A translation has the name of its source, relative to the folder or to the part of the glob before its first
    wildcard, and the suffix too if that can be written, else .png or, for clips, .mp4; where two would get one name,
    the old suffix stays in it, as in a.jpg.png. With one input file, `out` may be a file.

    Args:
        existing: what becomes of translations that are there: "refuse", "overwrite", or "skip", which leaves out their
            jobs; as every translation appears whole, so an interrupted job goes on. Those that were found among the
            inputs, as they lie in one folder, are not translated again.
        kind: a suffix without its dot that translations get: such as png those of pictures, such as mkv those of clips.
        ending: goes between name and suffix.
        shard: (i, n) takes part i of n, the same whatever is there already.
        back: translations are taken back, too, into a file NAME_back.

    Raises:
        UserError: an input does not exist or holds no picture, two would get one name, a file would be overwritten, or
            `out` names a file and `kind` or `ending` asks for another name.
    """
    found: dict[str, tuple[Path, Path]] = {}
    for text in inputs:
        for source, name in _expand(text, out):
            found.setdefault(os.path.join(os.path.realpath(source.parent), source.name), (source, name))
    suffix = out.suffix.lower()
    is_file = len(inputs) == 1 and Path(inputs[0]).is_file() and not out.is_dir()
    if is_file and suffix in (readable_suffixes() | READ_ONLY) - suffixes():
        raise UserError(f"-o {out}: {suffix[1:]} cannot be written; choose {'mp4' if is_video(out) else 'png'}")
    is_file = is_file and suffix in suffixes() | VIDEO_SUFFIXES
    if is_file and is_video(Path(inputs[0])) != is_video(out):
        raise UserError(f"{inputs[0]}: pictures cannot become clips, nor clips pictures; choose another -o than {out}")
    if is_file and (kind or ending):
        raise UserError(f"-o {out}: names a file, so --format and --suffix have nothing to name; leave them out")
    jobs = [Job(source, out if is_file else out / _named(name, kind, ending)) for source, name in found.values()]
    if back:
        jobs = [replace(job, back=_back(job.target)) for job in jobs]
    named = [Path(os.path.expanduser(text)) for text in inputs] if existing == "overwrite" else []
    without = partial(_without_translations, by_name=existing == "skip" and bool(ending), named=named)
    jobs = without(_told_apart(without(jobs)))
    _check(jobs)
    jobs = jobs[shard[0] - 1 :: shard[1]]
    if existing == "skip":
        return [job for job in jobs if not all(os.path.lexists(path) for path in job.files)]
    files = [path for job in jobs for path in job.files]
    there = [path for path in files if os.path.lexists(path)]
    if there and existing == "refuse":
        raise UserError(
            f"{there[0]}: exists already ({len(there)} of {len(files)} would be overwritten); "
            "choose another folder with -o, or add --skip-existing or --overwrite"
        )
    return jobs


def make_folders(jobs: list[Job]) -> None:
    """Make the folders that translations go to.

    Raises:
        UserError: one cannot be made or written to.
    """
    for folder in dict.fromkeys(job.target.parent for job in jobs):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UserError(f"{folder}: is not a folder; choose another one with -o") from None
        except OSError as error:
            raise UserError(f"{folder}: cannot be made: {error.strerror}; choose another folder with -o") from None
        if not os.access(folder, os.W_OK):
            raise UserError(f"{folder}: no permission to write there; choose another folder with -o")


def _expand(text: str, out: Path) -> list[tuple[Path, Path]]:
    if not text:
        raise UserError("an input is empty, as an unset variable is; name a picture, a clip or a folder")
    path = Path(os.path.expanduser(text))
    if path.is_dir():
        unlisted: list[Path] = []
        files = find_images(path, VIDEO_SUFFIXES | READ_ONLY, unlisted) + unlisted
        real = Path(os.path.realpath(out))  # which takes links that lead in circles, too
        if Path(os.path.realpath(path)) in real.parents:  # earlier translations lie inside the input folder
            files = [file for file in files if real not in Path(os.path.realpath(file)).parents]
        if path in files:
            raise UserError(f"{path}: this folder may not be read; change its permissions")
        if not files and path.suffix.lower() not in readable_suffixes():
            raise UserError(f"{path}: this folder holds no pictures and no clips")
        return [(file, file.relative_to(path)) for file in files] or [(path, Path(path.name))]
    if os.path.lexists(path):  # reading tells of links that lead nowhere
        return [(path, Path(path.name))]
    if not glob.has_magic(text):
        raise UserError(f"{path}: no such file or folder")
    start = Path(*_before_wildcard(path))
    matches = [Path(m) for m in sorted(glob.glob(str(path), recursive=True)) if not os.path.isdir(m)]
    if not matches:
        raise UserError(f"{text}: no file matches")
    return [(m, m.relative_to(start)) for m in matches]


def _before_wildcard(path: Path) -> list[str]:
    parts = list(path.parts)
    return parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))]


def _named(name: Path, kind: str | None, ending: str) -> Path:
    own = name.suffix if name.suffix.lower() in suffixes() | VIDEO_SUFFIXES else ".mp4" if is_video(name) else ".png"
    new = f".{kind}" if kind and (f".{kind.lower()}" in VIDEO_SUFFIXES) == is_video(name) else own
    return name.with_name(f"{name.stem}{ending}{new}")


def _told_apart(jobs: list[Job]) -> list[Job]:
    """Where several would get one name, those whose suffix changes keep the old one in it: a.png, and a.jpg.png."""
    counts = Counter(_folded(job.target) for job in jobs)
    found = []
    for job in jobs:
        if counts[_folded(job.target)] > 1 and job.source.suffix.lower() != job.target.suffix.lower():
            target = job.target.with_stem(f"{job.target.stem}{job.source.suffix}")
            job = replace(job, target=target, back=job.back and _back(target))
        found.append(job)
    return found


def _back(target: Path) -> Path:
    return target.with_stem(f"{target.stem}_back")


def _folded(path: Path) -> str:
    """The same for names that are one where the file system does not tell A from a, as on macOS and Windows."""
    return str(path).casefold() if sys.platform in ("darwin", "win32") else str(path)


def _identity(path: Path) -> tuple[int, int]:
    """The same for every name that leads to one file."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _without_translations(jobs: list[Job], by_name: bool, named: list[Path]) -> list[Job]:
    """Those whose source is not what became of the source of another, as its name or else its provenance says.

    Args:
        named: files that are never taken for translations, as they were asked for by name.
    """
    sources = {_identity(job.source) for job in jobs if job.source.exists()}
    sources -= {_identity(path) for path in named if path.is_file()}
    made = {
        _identity(path)
        for job in jobs
        for path in job.files
        if path.exists()
        and _identity(path) in sources
        and not (job.source.exists() and path.samefile(job.source))
        and (by_name or read_provenance(path))
    }
    return [job for job in jobs if not (job.source.exists() and _identity(job.source) in made)]


def _check(jobs: list[Job]) -> None:
    """That no translation takes the place of an input or of another."""
    sources = {_identity(job.source) for job in jobs if job.source.exists()}  # reading tells of a broken link
    taken: dict[str, Path] = {}
    for source, path in [(job.source, path) for job in jobs for path in job.files]:
        name = _folded(path)
        if name in taken:
            raise UserError(
                f"{source} and {taken[name]} would both become {path}; rename one, or translate it alone, with --suffix"
            )
        taken[name] = source
        if path.exists() and _identity(path) in sources:
            raise UserError(
                f"{path}: is an input and would be overwritten; choose another folder with -o, or another --suffix"
            )
        if path.is_dir():
            raise UserError(f"{path}: is a folder; the translation of {source} needs that name, so choose another -o")
