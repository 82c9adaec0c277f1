"""The doctor: examines a data folder, tells what is wrong and what to do, and writes a cleaned copy on request."""

import json
import os
import shlex
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclestyle.commands import Parser, printable, run_command
from cyclestyle.errors import UserError
from cyclestyle.files import atomic_write, refuse_used_folder

if TYPE_CHECKING:
    from cyclestyle.data.cleaned import Plan
    from cyclestyle.data.findings import Collection, Finding

SHOWN = 10
HEADINGS = {
    "must": "MUST BE FIXED: this spoils training, or its test",
    "should": "WORTH FIXING: results will be better",
    "note": "GOOD TO KNOW",
}


def main(argv: list[str] | None = None) -> int:
    """Examine as the arguments say; returns the exit status."""
    return run_command(_main, argv)


def _parser() -> Parser:
    parser = Parser(
        "doctor",
        "python -m cyclestyle.data.doctor",
        description="Examine trainA, trainB, testA, testB, valA and valB: unreadable files, copies, pictures that are "
        "tiny, blank or long, and how the two domains differ. Says what to do about each. Nothing is changed.",
        epilog="Exit status: 1 if something spoils training or its test (a missing folder, unreadable or tiny files, "
        "pictures in training and test, pictures in both domains), else 0; with --fix 0 if the copy was written.",
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="the folder that holds trainA and trainB")
    parser.add_argument(
        "--fix", type=Path, metavar="OUT",
        help="write a cleaned copy into a new folder: without files that are unreadable, copies, smaller than "
        "--crop-size or blank; with a short side of at most --load-size; what is longer than 2:1 in pieces",
    )  # fmt: skip
    parser.add_argument("--load-size", type=int, default=286, metavar="N", help="as data.load_size (default: 286)")
    parser.add_argument("--crop-size", type=int, default=256, metavar="N", help="as data.crop_size (default: 256)")
    parser.add_argument("--min-size", type=int, default=32, metavar="N", help="as data.min_size (default: 32)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings to a new file")
    parser.add_argument("--all", action="store_true", help=f"list all files of a finding, not the first {SHOWN}")
    return parser


def _main(argv: list[str] | None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    for name in ("min_size", "crop_size", "load_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}")
    if args.crop_size > args.load_size:
        parser.error(f"--crop-size {args.crop_size} is larger than --load-size {args.load_size}; lower it")
    _check_paths(args.root, args.fix, args.json)

    from cyclestyle.data.cleaned import MENDED, kept_alone, plan_copy, write_copy
    from cyclestyle.data.findings import Limits, collect, list_findings

    collection = collect(args.root, Limits(args.load_size, args.crop_size, args.min_size))
    findings = list_findings(collection)
    spoilt = any(finding.level == "must" for finding in findings)
    print(printable(_report(collection, findings, None if args.all else SHOWN)))
    plan = plan_copy(collection) if args.fix else None
    if args.json:
        with atomic_write(args.json) as file:
            file.write(_json(collection, findings, plan).encode())
    if plan is None:
        if any(finding.kind in MENDED for finding in findings):
            print(printable(f"\nA cleaned copy: {parser.prog} {shlex.quote(str(args.root))} --fix NEW_FOLDER"))
        return int(spoilt)
    count = write_copy(plan, args.load_size, args.fix)
    print(printable("\n" + _summary(plan, count, args.fix, None if args.all else SHOWN)))
    rest = [finding.title for finding in list_findings(kept_alone(collection, plan)) if finding.kind not in MENDED]
    if rest:
        print("Left to you: " + "; ".join(rest))
    print(printable(f"Next: python train.py --config YOUR_CONFIG data.root={shlex.quote(str(args.fix))}"))
    return 0


def _check_paths(root: Path, fix: Path | None, json_file: Path | None) -> None:
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder; name the one that holds trainA and trainB")
    folders = [split + domain for split in ("train", "test", "val") for domain in "AB"]
    if not any((root / name).is_dir() for name in folders):
        there = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())[:8]) or "none"
        raise UserError(
            f"{root}: holds neither trainA nor trainB (its folders: {there}); "
            "make them from two folders: python -m cyclestyle.data.split FOLDER_A FOLDER_B -o NEW_FOLDER"
        )
    if fix:
        refuse_used_folder(fix, root)
    if json_file and os.path.lexists(json_file):
        raise UserError(f"{json_file}: exists already; choose another file, nothing is overwritten")
    if json_file and not json_file.parent.is_dir():
        raise UserError(f"{json_file}: there is no folder {json_file.parent}")


def _report(collection: "Collection", findings: "list[Finding]", most: int | None) -> str:
    lines = [_overview(collection)]
    for level, heading in HEADINGS.items():
        of_level = [finding for finding in findings if finding.level == level]
        if of_level:
            lines += ["", heading]
        for finding in of_level:
            lines += ["", f"  {finding.title}"]
            lines += [f"      {line}" for line in _items(finding, most)]
            lines.append(textwrap.fill(finding.advice, 100, initial_indent="   -> ", subsequent_indent="      "))
    counts = [(level, sum(f.level == level for f in findings)) for level in HEADINGS]
    words = {"must": "must be fixed", "should": "worth fixing", "note": "good to know"}
    verdict = ", ".join(f"{count} {words[level]}" for level, count in counts if count)
    return "\n".join([*lines, "", f"Findings: {verdict}." if verdict else "Nothing is wrong with it."])


def _overview(collection: "Collection") -> str:
    from statistics import median

    counts = "   ".join(f"{name} {count}" for name, count in collection.folders.items())
    rows = [("short side", "pixels, smallest to largest"), ("format", ""), ("brightness", "0 black to 255 white"),
            ("colour", "0 is grey"), ("detail", "grey levels from pixel to pixel in training")]  # fmt: skip
    columns = []
    for domain in "AB":
        of = collection.of(domain)
        if not of:
            columns.append(["-"] * len(rows))
            continue
        sides = sorted(p.short for p in of)
        formats = [p.format for p in of]
        usual = max(sorted(set(formats)), key=formats.count)
        share = "" if len(set(formats)) == 1 else f" {100 * formats.count(usual) // len(of)} %"
        values = [f"{median(getattr(p, key) for p in of):.3g}" for key in ("brightness", "colour", "detail")]
        columns.append([f"{median(sides):.0f} ({sides[0]} to {sides[-1]})", usual + share, *values])
    table = [("", "A", "B", "")] + [(name, a, b, unit) for (name, unit), a, b in zip(rows, *columns, strict=True)]
    width = max(len(cell) for row in table for cell in row[1:3])
    text = [f"  {n:10}  {a:{width}}  {b:{width}}  {unit}".rstrip() for n, a, b, unit in table]
    return "\n".join([f"{collection.root}: {counts}", "", *text])


def _items(finding: "Finding", most: int | None) -> list[str]:
    shown = finding.items[:most]
    names = [" = ".join(files) for files, _ in shown]
    width = min(60, max(map(len, names), default=0))
    lines = [f"{name:{width}}  {remark}" for name, (_, remark) in zip(names, shown, strict=True)]
    rest = len(finding.items) - len(shown)
    return lines + ([f"and {rest} more (--all lists them)"] if rest else [])


def _summary(plan: "Plan", count: int, out: Path, most: int | None) -> str:
    lines = [f"Written into {out}: {count} pictures"]
    pieces = count - len(plan.kept)
    if pieces:
        lines[0] += f" ({pieces} more than were kept, as long ones were cut)"
    left_out = sum(map(len, plan.left_out.values()))
    lines.append(f"Left out: {left_out}" if left_out else "Nothing was left out.")
    for reason, names in plan.left_out.items():
        rest = f" and {len(names) - most} more" if most is not None and len(names) > most else ""
        listed = ", ".join(names[:most]) + rest
        lines.append(
            textwrap.fill(f"{len(names)} {reason}: {listed}", 100, initial_indent="  ", subsequent_indent="    ")
        )
    return "\n".join(lines)


def _json(collection: "Collection", findings: "list[Finding]", plan: "Plan | None") -> str:
    found: dict[str, Any] = {
        "root": str(collection.root),
        "folders": collection.folders,
        "findings": [
            {
                "kind": finding.kind,
                "level": finding.level,
                "title": finding.title,
                "advice": finding.advice,
                "items": [{"files": files, "remark": remark} for files, remark in finding.items],
            }
            for finding in findings
        ],
    }
    if plan:
        found["left_out"] = plan.left_out
    return json.dumps(found, indent=1) + "\n"


if __name__ == "__main__":
    sys.exit(main())
