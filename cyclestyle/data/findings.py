"""What is wrong with a collection, how grave it is, and what to do about it."""

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Literal

from cyclestyle.data.duplicates import Pair, find_pairs
from cyclestyle.data.examine import Broken, Picture, examine_all, thumbs
from cyclestyle.images import find_images

FOLDERS = [split + domain for split in ("train", "test", "val") for domain in "AB"]
RANK = {"train": 0, "val": 1, "test": 2}
LONG = 2.0  # sides; translation and the sample grids, too, call what is longer long
FLAT = 16.0  # grey levels of contrast: fog and pale ink have 50
GREY = 2.0  # of colour: silk that has lost its colour has 5
FEW = 100
HARSH = 60  # JPEG quality below which blocks show

Level = Literal["must", "should", "note"]


_ACROSS: list[tuple[str, Level, str, str]] = [
    ("across", "must", "IN BOTH DOMAINS",
     "remove each from the domain it does not belong to: it teaches that nothing is to be changed"),
    ("paired", "note", "PAIRED: one picture in A and one in B show the same",
     "nothing, if pairs are meant; training does not use that they are pairs"),
]  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What training will do, in pixels of the short side: resize to `load_size`, cut squares of `crop_size`."""

    load_size: int = 286
    crop_size: int = 256
    min_size: int = 32


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: a word for programs.
        level: must (spoils training or its test), should (makes it worse), note (good to know).
        items: the files concerned, one or two each, with a remark.
    """

    kind: str
    level: Level
    title: str
    advice: str
    items: list[tuple[list[str], str]] = field(default_factory=list)


@dataclass(frozen=True)
class Collection:
    """A data folder, examined; pictures are in the order of `FOLDERS`, then by name."""

    root: Path
    limits: Limits
    folders: dict[str, int]
    pictures: list[Picture]
    broken: list[Broken]
    pairs: list[Pair]

    def name(self, path: Path) -> str:
        """Relative to the root, such as trainA/lake.jpg."""
        return path.relative_to(self.root).as_posix()

    def folder(self, picture: Picture) -> str:
        return picture.path.relative_to(self.root).parts[0]

    def of(self, folders: str) -> list[Picture]:
        """The pictures of folders whose names end so: trainA, or A for all of the domain."""
        return [p for p in self.pictures if self.folder(p).endswith(folders)]

    def kind(self, pair: Pair) -> str:
        """Where the two are: across (domains), leak (train, val and test of one), duplicate (one folder)."""
        one, other = (self.folder(self.pictures[number]) for number in (pair.first, pair.second))
        return "duplicate" if one == other else "leak" if one[-1] == other[-1] else "across"


def collect(root: Path, limits: Limits) -> Collection:
    """Examine all pictures below the folders of a set that there are, and search for copies."""
    found = {name: find_images(root / name) for name in FOLDERS if (root / name).is_dir()}
    results = examine_all([path for paths in found.values() for path in paths], limits.load_size)
    pictures = [result for result in results if isinstance(result, Picture)]
    broken = [result for result in results if isinstance(result, Broken)]
    pairs = find_pairs([p.digest for p in pictures], thumbs(pictures))
    return Collection(root, limits, {name: len(paths) for name, paths in found.items()}, pictures, broken, pairs)


def list_findings(collection: Collection) -> list[Finding]:
    """Everything that was found, the gravest first."""
    found = [f for finds in (_files, _copies, _shapes, _tones, _balance, _numbers) for f in finds(collection)]
    return sorted(found, key=lambda finding: ("must", "should", "note").index(finding.level))


def sort_pairs(collection: Collection) -> dict[str, list[Pair]]:
    """Pairs by what they are: leak, across (domains), paired (so many across that they are meant), duplicate.

    In a paired set a test picture whose partner is trained on is a leak, too.
    """
    kinds: dict[str, list[Pair]] = defaultdict(list)
    for pair in collection.pairs:
        kinds[collection.kind(pair)].append(pair)
    across = kinds["across"]
    smaller = min(len(collection.of("A")), len(collection.of("B")))
    if not any(pair.exact for pair in across) and len({p.first for p in across}) > max(5, smaller / 10):
        for pair in kinds.pop("across"):
            splits = {collection.folder(collection.pictures[number])[:-1] for number in (pair.first, pair.second)}
            kinds["paired" if len(splits) == 1 else "leak"].append(pair)
    return kinds


def spare_copies(collection: Collection, gone: set[int]) -> dict[int, Pair]:
    """Pictures that can go, as a copy stays in their domain: that of test, then of val, then the largest, of these
    one with colours, then the first.

    Args:
        gone: numbers of pictures that do not count, as they go anyway.

    Returns:
        by the number of the picture that can go, itself (`first`) and the copy that stays.
    """
    copies: dict[int, list[Pair]] = defaultdict(list)
    for pair in collection.pairs:
        if collection.kind(pair) != "across":
            copies[pair.first].append(pair)
            copies[pair.second].append(replace(pair, first=pair.second, second=pair.first))

    def rank(number: int) -> tuple[int, int, bool, int]:
        picture = collection.pictures[number]
        split = collection.folder(picture)[:-1]
        return -RANK[split], -picture.width * picture.height, picture.colour < GREY, number

    stays: set[int] = set()
    spare: dict[int, Pair] = {}
    for number in sorted(copies.keys() - gone, key=rank):
        found = [pair for pair in copies[number] if pair.second in stays]
        if found:
            spare[number] = found[0]
        else:
            stays.add(number)
    return dict(sorted(spare.items()))


def _plural(count: int, what: str = "picture") -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _files(collection: Collection) -> Iterator[Finding]:
    missing = [name for name in ("trainA", "trainB") if not collection.folders.get(name)]
    for name in missing:
        state = "is empty" if name in collection.folders else "is missing"
        yield Finding("no-pictures", "must", f"{name} {state}", f"put the pictures of domain {name[-1]} there")
    if collection.broken:
        items = [([collection.name(b.path)], b.reason) for b in collection.broken]
        yield Finding(
            "unreadable", "must", f"UNREADABLE: {_plural(len(items), 'file')}",
            "fetch them again, or remove them; training refuses to start with such files", items,
        )  # fmt: skip


def _copies(collection: Collection) -> Iterator[Finding]:
    kinds = sort_pairs(collection)
    for held_out, other in [(a, b) for a in FOLDERS for b in FOLDERS if _leaks(a, b)]:
        leaks = [pair for pair in kinds.get("leak", []) if _folders(collection, pair) == {held_out, other}]
        if leaks:
            names = {name for pair in leaks for name in _pair(collection, pair)[0] if name.startswith(held_out)}
            are = "is" if len(names) == 1 else "are"
            yield Finding(
                "leak", "must", f"LEAK: {_plural(len(names))} of {held_out} {are} in {other} too",
                f"remove the copies from {other}: a test with pictures that training saw tells nothing",
                [_pair(collection, pair) for pair in leaks],
            )  # fmt: skip
    for kind, level, title, advice in _ACROSS:
        items = [_pair(collection, pair) for pair in kinds.get(kind, [])]
        if items:
            yield Finding(kind, level, f"{title}: {_plural(len(items), 'pair')}", advice, items)
    same = [pair for pair in spare_copies(collection, set()).values() if collection.kind(pair) == "duplicate"]
    if same:
        yield Finding(
            "duplicate", "should", f"DUPLICATES: {_plural(len(same))} that their folder holds already",
            "remove the first of each line; the other is at least as large: what stands there twice is learned twice",
            [_pair(collection, pair) for pair in same],
        )  # fmt: skip


def _leaks(held_out: str, other: str) -> bool:
    """Whether pictures of the first must not be in the second: test stays apart from val and train, val from train."""
    return RANK[held_out[:-1]] > RANK[other[:-1]]


def _folders(collection: Collection, pair: Pair) -> set[str]:
    return {collection.folder(collection.pictures[number]) for number in (pair.first, pair.second)}


def _pair(collection: Collection, pair: Pair) -> tuple[list[str], str]:
    one, other = collection.pictures[pair.first], collection.pictures[pair.second]
    how = "same pixels" if pair.exact else "mirrored" if pair.mirrored else "a copy"
    sizes = "" if pair.exact else f", {one.width}x{one.height} and {other.width}x{other.height}"
    return [collection.name(one.path), collection.name(other.path)], how + sizes


def _shapes(collection: Collection) -> Iterator[Finding]:
    limits = collection.limits

    def pick(which: Callable[[Picture], bool]) -> list[tuple[list[str], str]]:
        return [([collection.name(p.path)], f"{p.width}x{p.height}") for p in collection.pictures if which(p)]

    tiny = pick(lambda p: p.short < limits.min_size)
    if tiny:
        yield Finding(
            "tiny", "must", f"TINY: {_plural(len(tiny))} with a side under {limits.min_size} pixels",
            "remove them; training refuses to start with such files (data.min_size)", tiny,
        )  # fmt: skip
    small = pick(lambda p: limits.min_size <= p.short < limits.crop_size)
    if small:
        yield Finding(
            "small", "should", f"SMALL: {_plural(len(small))} with a side under {limits.crop_size} pixels",
            _about_small(collection, len(small)), small,
        )  # fmt: skip
    flat = pick(lambda p: p.short >= limits.min_size and p.contrast < FLAT)
    if flat:
        yield Finding(
            "flat", "should", f"NEARLY BLANK: {_plural(len(flat))}",
            "leave them out: there is nothing to learn from blank paper or an empty sky", flat,
        )  # fmt: skip
    long = pick(lambda p: p.short >= limits.min_size and p.aspect > LONG)
    if long:
        yield Finding(
            "long", "should", f"LONG: {_plural(len(long))} more than {LONG:g} times as long as wide",
            "cut them into pieces: training sees one square of a picture at a time, a small part of a scroll", long,
        )  # fmt: skip
    large = pick(lambda p: p.short > 2 * limits.load_size)
    if large:
        yield Finding(
            "large", "note", f"LARGE: {_plural(len(large))} with sides over {2 * limits.load_size} pixels",
            f"reduce them to {limits.load_size} pixels once, or every start of a training waits for that", large,
        )  # fmt: skip
    for domain in "AB":
        of = collection.of(domain)
        usual = median([p.short for p in of] or [0])
        odd = [p for p in of if limits.crop_size <= p.short < usual / 4]  # large ones are named above
        if odd:
            yield Finding(
                "odd-size", "note", f"ODD SIZES: {_plural(len(odd))} of domain {domain}, where {usual:g} is usual",
                "look whether they belong there",
                [([collection.name(p.path)], f"{p.width}x{p.height}") for p in odd],
            )  # fmt: skip


def _about_small(collection: Collection, count: int) -> str:
    blurred = "enlarged they are blurred, and blur would be learned"
    if count <= len(collection.pictures) / 2:
        return f"fetch larger ones, or leave them out: {blurred}"
    limits, usual = collection.limits, int(median(p.short for p in collection.pictures))
    crop_size = max(8, usual * limits.crop_size // limits.load_size // 4 * 4)
    return (
        f"{blurred}; as most are small, train smaller with data.load_size={usual} data.crop_size={crop_size}, and tell "
        f"the doctor so: --load-size {usual} --crop-size {crop_size}"
    )


def _tones(collection: Collection) -> Iterator[Finding]:
    for domain in "AB":
        of = collection.of(domain)
        grey = [p for p in of if p.colour < GREY]
        few, what, others = grey, "greyscale", "coloured"
        if len(grey) > len(of) / 2:
            few, what, others = [p for p in of if p.colour >= GREY], "coloured", "greyscale"
        if few:
            yield Finding(
                "grey" if what == "greyscale" else "coloured", "should" if len(few) > 0.02 * len(of) else "note",
                f"{what.upper()}: {_plural(len(few))} of domain {domain}, where the others are {others}",
                "leave them out, or the model will choose between grey and colour at random",
                [([collection.name(p.path)], f"colour {p.colour:.0f} of 255") for p in few],
            )  # fmt: skip
        harsh = [p for p in of if p.quality is not None and p.quality < HARSH]
        if harsh:
            yield Finding(
                "compressed", "should" if len(harsh) > 0.1 * len(of) else "note",
                f"COMPRESSED: {_plural(len(harsh))} of domain {domain} with a JPEG quality under {HARSH}",
                "fetch better ones: the blocks and rings of compression would be learned",
                [([collection.name(p.path)], f"quality {p.quality}") for p in harsh],
            )  # fmt: skip


def _balance(collection: Collection) -> Iterator[Finding]:
    a, b = collection.of("trainA"), collection.of("trainB")
    if not a or not b:
        return
    load_size = collection.limits.load_size

    def compare(of: Callable[[Picture], float]) -> tuple[float, float, float]:
        one, other = median(map(of, a)), median(map(of, b))
        return one, other, max(one, other) / max(min(one, other), 0.1)

    one, other, ratio = compare(lambda p: min(p.short, load_size))
    if ratio > 1.25:
        yield Finding(
            "resolution", "should", f"RESOLUTION: short sides of usually {one:.0f} in A and {other:.0f} in B",
            f"fetch larger ones for {'A' if one < other else 'B'}: enlarged to {load_size} they are blurred, "
            "which tells the domains apart more easily than their style",
        )  # fmt: skip
    one, other, ratio = compare(lambda p: p.detail)
    if ratio > 2:
        yield Finding(
            "detail", "note", f"DETAIL: {one:.1f} in A and {other:.1f} in B (grey levels from pixel to pixel)",
            f"nothing, if it is the style; if {'A' if one < other else 'B'} is blurred or "
            f"{'B' if one < other else 'A'} noisy, mend that first, for it would be learned",
        )  # fmt: skip
    for kind, what, of in (
        ("brightness", "of 255", lambda p: p.brightness),
        ("colour", "of 255, where 0 is grey", lambda p: p.colour),
    ):
        one, other, ratio = compare(of)
        if abs(one - other) > (64 if kind == "brightness" else 32):
            yield Finding(
                kind, "note", f"{kind.upper()}: usually {one:.0f} in A and {other:.0f} in B ({what})",
                "nothing, if it is the style; else, and for papers of many tones, see data.prepare",
            )  # fmt: skip
    if max(len(a), len(b)) > 3 * min(len(a), len(b)):
        yield Finding(
            "numbers", "note", f"NUMBERS: {len(a)} in trainA and {len(b)} in trainB",
            "more of the smaller, if you can: each of them is seen so much more often",
        )  # fmt: skip


def _numbers(collection: Collection) -> Iterator[Finding]:
    for name in ("trainA", "trainB"):
        count = len(collection.of(name))
        if 0 < count < FEW:
            yield Finding(
                "few", "should", f"FEW: {_plural(count)} in {name}",
                f"find more: under {FEW} are learned by heart; a few hundred are good",
            )  # fmt: skip
    held_out = [f"{split}{domain}" for split in ("test", "val") for domain in "AB"]
    there = [name for name in held_out if collection.folders.get(name)]
    if not there and not any(f.kind == "no-pictures" for f in _files(collection)):
        yield Finding(
            "no-test", "should", "NO TEST: no testA and testB, nor valA and valB",
            f"hold some out: python -m cyclestyle.data.split {shlex.quote(str(collection.root))} -o NEW_FOLDER",
        )  # fmt: skip
    for name in there:
        other = name[:-1] + {"A": "B", "B": "A"}[name[-1]]
        if other not in there:
            yield Finding(
                "no-test", "should", f"NO {other}, but {name}", "hold pictures out of both domains, or of none"
            )
