"""Holds pictures out for test and val: makes trainA, testA ... of two folders, copies of a picture always together."""

import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cyclestyle.commands import Parser, printable, run_command
from cyclestyle.errors import UserError
from cyclestyle.files import new_folder, refuse_used_folder


@dataclass(frozen=True)
class Parts:
    """How the pictures of a folder were divided; `together` counts groups of copies, `broken` says what is bad."""

    files: dict[str, list[Path]]
    together: int
    broken: list[str]


def wanted_count(option: str, text: str, total: int) -> int:
    """'50' or '10%' of `total` pictures, rounded; a percentage over 0 is at least one picture.

    Raises:
        UserError: it is neither, negative, or over 100 %.
    """
    number = text.removesuffix("%")
    try:
        value = float(number) if text.endswith("%") else int(number)
    except ValueError:
        raise UserError(
            f"{option} {text}: must be a number of pictures such as 50, or a percentage such as 10%"
        ) from None
    if not 0 <= value < float("inf"):
        raise UserError(
            f"{option} {text}: must not be less than 0" if value < 0 else f"{option} {text}: must be a number"
        )
    if not text.endswith("%"):
        return int(value)
    if value > 100:
        raise UserError(f"{option} {text}: is over 100 %; give a percentage of all pictures, such as 10%")
    return max(round(total * value / 100), int(value > 0))


def divide(names: Sequence[str], groups: Sequence[Sequence[int]], counts: dict[str, int], seed: int) -> dict[int, str]:
    """Which split each picture goes to; the rest goes to train.

    The order of drawing follows from a hash of seed and name, not from the other names: a picture that is added takes
    the place of one other at most, and pictures of one name in two folders tend to go to the same split. A group of
    copies is drawn by its first name; if it is larger than what a split still lacks, it goes to the next one that has
    room, at last to train.

    Args:
        names: of the pictures, relative to their folder.
        groups: their numbers, those of copies together.
        counts: pictures for each held-out split, filled in this order.
    """

    def draw(group: Sequence[int]) -> bytes:
        first = min(names[number] for number in group)
        return hashlib.blake2b(f"{seed}/{first}".encode(errors="surrogateescape"), digest_size=16).digest()

    chosen: dict[int, str] = {}
    lacking = dict(counts)
    for group in sorted(groups, key=draw):
        split = next((s for s, lacks in lacking.items() if len(group) <= lacks), "train")
        if split != "train":
            lacking[split] -= len(group)
        chosen.update(dict.fromkeys(group, split))
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Split as the arguments say; returns the exit status."""
    return run_command(_main, argv)


def _parser() -> Parser:
    parser = Parser(
        "split",
        "python -m cyclestyle.data.split",
        description="Make trainA, testA, valA, trainB, testB and valB in a new folder from two folders of pictures, or "
        "from one that holds trainA and trainB alone. The sources stay as they are. Copies of one picture "
        "(rescaled, cropped, mirrored ...) stay together. The same seed and files give the same split.",
    )
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="SOURCE",
        help="the folders of domain A and of domain B, or one folder with trainA and trainB",
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="new folder for the set")
    parser.add_argument(
        "--test",
        default="10%",
        metavar="N",
        help="pictures a domain, such as 50, or a share, such as 10%% (the default)",
    )
    parser.add_argument("--val", default="0", metavar="N", help="the same for validation (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another split (default: 0)")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--copy", action="store_true", help="copy the files (the default)")
    way.add_argument(
        "--link", action="store_true", help="link to the files, which takes no space: hard links, or symbolic ones "
        "where the file system has no others",
    )  # fmt: skip
    return parser


def _main(argv: list[str] | None) -> int:
    args = _parser().parse_args(argv)
    sources = _sources(args.sources)
    for source in sources:
        refuse_used_folder(args.out, source)
    for option in ("test", "val"):
        wanted_count(f"--{option}", getattr(args, option), 100)
    from cyclestyle.images import find_images

    files = [find_images(source) for source in sources]
    for source, paths in zip(sources, files, strict=True):
        _check_names(source, paths)
        _counts(source, len(paths), args.test, args.val)
    parts = [
        _divide_folder(source, paths, args.test, args.val, args.seed)
        for source, paths in zip(sources, files, strict=True)
    ]
    _write(sources, parts, args.out, args.link)
    print(printable(_told(sources, parts, args.out)))
    return 0


def _sources(given: list[Path]) -> list[Path]:
    """The folders of A and B.

    Raises:
        UserError: there are more than two, one is missing, or one lies in the other.
    """
    if len(given) > 2:
        raise UserError(f"{given[2]}: a third source; give the folders of A and of B, or one with trainA and trainB")
    for folder in given:
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder")
    if len(given) == 1:
        [root] = given
        held_out = [f"{split}{domain}" for split in ("test", "val") for domain in "AB"]
        there = [name for name in held_out if (root / name).exists()]
        if there:
            raise UserError(
                f"{root}: has {there[0]} already; to split training off anew, name {root / 'trainA'} {root / 'trainB'}"
            )
        given = [root / "trainA", root / "trainB"]
        for folder in given:
            if not folder.is_dir():
                raise UserError(f"{root}: has no {folder.name}; name two folders, that of A and that of B")
    one, other = (folder.resolve() for folder in given)
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise UserError(f"{given[0]} and {given[1]}: must be two folders, neither inside the other")
    return given


def _check_names(source: Path, paths: list[Path]) -> None:
    if not paths:
        raise UserError(f"{source}: holds no pictures (looked for jpg, png, webp and others, also in subfolders)")
    taken: dict[str, Path] = {}
    for path in paths:
        name = str(path.relative_to(source)).casefold()  # some file systems do not tell A from a
        if name in taken:
            raise UserError(f"{path} and {taken[name]}: would get one name; rename one of them")
        taken[name] = path


def _counts(source: Path, total: int, test: str, val: str) -> dict[str, int]:
    counts = {"test": wanted_count("--test", test, total), "val": wanted_count("--val", val, total)}
    if sum(counts.values()) > total - 2:
        raise UserError(
            f"{source}: {counts['test']} for test and {counts['val']} for val of {total} pictures leave fewer than 2 "
            f"to train with; ask for at most {max(total - 2, 0)} of both together with --test and --val"
        )
    return counts


def _divide_folder(source: Path, paths: list[Path], test: str, val: str, seed: int) -> Parts:
    from cyclestyle.data.duplicates import find_pairs, groups
    from cyclestyle.data.examine import Broken, Picture, examine_all, thumbs

    results = examine_all(paths)
    pictures = [result for result in results if isinstance(result, Picture)]
    broken = [f"{result.path}: {result.reason}" for result in results if isinstance(result, Broken)]
    counts = _counts(source, len(pictures), test, val)
    copies = groups(len(pictures), find_pairs([p.digest for p in pictures], thumbs(pictures)))
    names = [p.path.relative_to(source).as_posix() for p in pictures]
    chosen = divide(names, copies, counts, seed)
    files = {
        split: [p.path for i, p in enumerate(pictures) if chosen[i] == split] for split in ("train", "test", "val")
    }
    return Parts(files, sum(len(group) > 1 for group in copies), broken)


def _write(sources: list[Path], parts: list[Parts], out: Path, link: bool) -> None:
    from tqdm import tqdm

    jobs = [
        (path, f"{split}{domain}/{path.relative_to(source).as_posix()}")
        for source, part, domain in zip(sources, parts, "AB", strict=True)
        for split, paths in part.files.items()
        for path in paths
    ]
    with new_folder(out) as folder:
        for path, name in tqdm(jobs, "linking" if link else "copying", unit="file", disable=None, leave=False):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if link:
                _link(path.resolve(), target)
            else:
                shutil.copyfile(path, target)


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # another file system, or one without hard links
        target.symlink_to(path)


def _told(sources: list[Path], parts: list[Parts], out: Path) -> str:
    lines = [f"{out}:"]
    for source, part, domain in zip(sources, parts, "AB", strict=True):
        made = ", ".join(f"{len(paths)} in {split}{domain}" for split, paths in part.files.items() if paths)
        kept = f"{part.together} group{'' if part.together == 1 else 's'} of copies kept together"
        lines.append(f"  {made} from {source}; {kept}")
    broken = [line for part in parts for line in part.broken]
    if broken:
        lines += [f"left out, as they cannot be read: {len(broken)}", *(f"  {line}" for line in broken)]
    lines.append(f"Next: python -m cyclestyle.data.doctor {shlex.quote(str(out))}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
