"""Writes a copy of a data folder without what spoils training, at the size of training."""

import math
import shutil
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cyclestyle.data.examine import THREADS, Picture
from cyclestyle.data.findings import FLAT, LONG, RANK, Collection, sort_pairs, spare_copies
from cyclestyle.errors import UserError
from cyclestyle.files import new_folder
from cyclestyle.images import read_image, resize_image, write_image

MENDED = {"unreadable", "leak", "across", "duplicate", "tiny", "small", "flat", "long", "large"}  # kinds of findings
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")


@dataclass(frozen=True)
class Plan:
    """What goes into the copy.

    Attributes:
        kept: pictures, and the file or files that each becomes, relative to the copy: pieces, if it is long.
        left_out: the names of the others by reason.
    """

    kept: list[tuple[Picture, list[Path]]]
    left_out: dict[str, list[str]]


def plan_copy(collection: Collection) -> Plan:
    """Decide what to leave out, and the names of the rest.

    Of copies in one domain one stays (`spare_copies`); of pictures in both domains none stays in training, and where
    neither was in training none stays at all, as nothing tells where it belongs. In a paired set pictures whose partner
    is held out leave training.

    Raises:
        UserError: a domain would be left with fewer than two pictures, or lose most because they are small.
    """
    limits = collection.limits
    reasons: dict[int, str] = {}
    for number, picture in enumerate(collection.pictures):
        if picture.short < limits.crop_size:
            reasons[number] = f"smaller than {limits.crop_size} pixels"
        elif picture.contrast < FLAT:
            reasons[number] = "nearly blank"
    for domain in ("trainA", "trainB"):
        numbers = [n for n, p in enumerate(collection.pictures) if collection.folder(p) == domain]
        small = sum(collection.pictures[n].short < limits.crop_size for n in numbers)
        if small > len(numbers) / 2:
            raise UserError(
                f"{collection.root / domain}: {small} of {len(numbers)} pictures are smaller than --crop-size "
                f"{limits.crop_size} and would be left out; set a smaller --crop-size and --load-size, here and in data"
            )
    _drop_copies(collection, reasons)
    left_out: dict[str, list[str]] = defaultdict(list)
    for broken in collection.broken:
        left_out["unreadable"].append(collection.name(broken.path))
    for number, reason in sorted(reasons.items()):
        left_out[reason].append(collection.name(collection.pictures[number].path))
    kept = [p for number, p in enumerate(collection.pictures) if number not in reasons]
    for domain in ("trainA", "trainB"):
        count = sum(collection.folder(p) == domain for p in kept)
        if count < 2:
            why = ", ".join(f"{len(names)} {reason}" for reason, names in left_out.items())
            raise UserError(
                f"{collection.root / domain}: {count} good picture{'' if count == 1 else 's'} would be left, and a "
                f"domain needs at least 2; left out would be, in all folders: {why or 'none'}"
            )
    return Plan(_targets(collection, kept), dict(left_out))


def kept_alone(collection: Collection, plan: Plan) -> Collection:
    """The same without what is left out, for what is still to be said of the rest."""
    pictures = [picture for picture, _ in plan.kept]
    names = [collection.folder(picture) for picture in pictures]
    counts = {folder: names.count(folder) for folder in collection.folders}
    return replace(collection, folders=counts, pictures=pictures, broken=[], pairs=[])


def write_copy(plan: Plan, load_size: int, out: Path) -> int:
    """Write the kept pictures; returns the number of files.

    A picture that is as training wants it is copied byte for byte. The others get a short side of at most `load_size`;
    JPEGs stay JPEGs, of quality 95 without colour subsampling, and all else becomes PNG. What is more than twice as
    long as wide becomes the fewest equal pieces that are not: as training sees squares only, nothing is lost, and every
    part of a scroll is seen as often as other pictures are.

    Raises:
        UserError: the disk is full, or a file cannot be read any more.
        OSError: a file cannot be written.
    """
    with new_folder(out) as folder, ThreadPoolExecutor(THREADS) as pool:
        try:
            counts = pool.map(lambda job: _write(job[0], [folder / name for name in job[1]], load_size), plan.kept)
            return sum(tqdm(counts, "writing", len(plan.kept), unit="picture", disable=None, leave=False))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _drop_copies(collection: Collection, reasons: dict[int, str]) -> None:
    """Add to `reasons` the pictures that stand in both domains, or of which a copy stays."""
    kinds = sort_pairs(collection)
    for pair in kinds.get("across", []):
        both = pair.first, pair.second
        trained = [n for n in both if collection.folder(collection.pictures[n]).startswith("train")]
        reasons |= dict.fromkeys([n for n in trained or both if n not in reasons], "in both domains")
    for pair in kinds.get("leak", []):
        if collection.kind(pair) == "across":
            number = min(pair.first, pair.second, key=lambda n: RANK[collection.folder(collection.pictures[n])[:-1]])
            reasons.setdefault(number, "with its partner in test or val")
    for number, pair in spare_copies(collection, set(reasons)).items():
        reasons[number] = f"with a copy in {'its folder' if collection.kind(pair) == 'duplicate' else 'test or val'}"


def _targets(collection: Collection, pictures: Iterable[Picture]) -> list[tuple[Picture, list[Path]]]:
    found = []
    taken: set[str] = set()
    for picture in pictures:
        name = picture.path.relative_to(collection.root)
        if not _as_it_is(picture, collection.limits.load_size) and name.suffix.lower() not in _LOSSY:
            name = name.with_suffix(".png")
        stem, number = name.stem, 2
        targets = _pieces(name, picture.aspect)
        while taken.intersection(map(_folded, targets)):  # a.gif beside a.png
            targets = _pieces(name.with_stem(f"{stem}-{number}"), picture.aspect)
            number += 1
        taken.update(map(_folded, targets))
        found.append((picture, targets))
    return found


def _folded(name: Path) -> str:
    return str(name).casefold()  # some file systems do not tell A from a


def _pieces(name: Path, aspect: float) -> list[Path]:
    """Names of the fewest equal parts of a picture that are at most twice as long as wide."""
    count = math.ceil(aspect / LONG)
    digits = len(str(count))
    return [name.with_stem(f"{name.stem}_{i:0{digits}}") for i in range(1, count + 1)] if count > 1 else [name]


def _as_it_is(picture: Picture, load_size: int) -> bool:
    return picture.plain and picture.short <= load_size and picture.aspect <= LONG


def _write(picture: Picture, targets: list[Path], load_size: int) -> int:
    targets[0].parent.mkdir(parents=True, exist_ok=True)
    if _as_it_is(picture, load_size):
        shutil.copyfile(picture.path, targets[0])
        return 1
    pixels = read_image(picture.path)
    if picture.short > load_size:
        pixels = resize_image(pixels, load_size, "short")
    parts = np.array_split(pixels, len(targets), axis=0 if picture.height > picture.width else 1)
    for target, part in zip(targets, parts, strict=True):
        write_image(target, np.ascontiguousarray(part))
    return len(targets)
