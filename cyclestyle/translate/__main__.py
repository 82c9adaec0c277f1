"""The translation command: `python -m cyclestyle.translate MODEL INPUT... -o OUT`."""

import os
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING

from cyclestyle.commands import Parser, printable, run_command
from cyclestyle.errors import OptionError, UserError, choices
from cyclestyle.translate.video_options import VIDEO_SUFFIXES, VideoOptions, add_video_options, is_video, video_options

if TYPE_CHECKING:
    from cyclestyle.translate.sources import Job


def main(argv: list[str] | None = None) -> int:
    """Translate as the arguments say; returns the exit status."""
    return run_command(_main, argv)


def _parser() -> Parser:
    parser = Parser(
        "translate", "python -m cyclestyle.translate", description="Translate pictures and clips with a trained model."
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder, checkpoint (.pt) or .safetensors file")
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="pictures, clips, folders (with all below them) or globs"
    )
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT", help="folder for the translations; of one input, a file"
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--direction", choices=("AtoB", "BtoA"), help="A, B: as data.names has them (default: AtoB)")
    way.add_argument(
        "--to", metavar="NAME", help="the domain to translate to, by its name in data.names, such as photo"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: auto")
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="default: auto, what the device computes fastest, and fp32 where a source has more than 8 bits a channel",
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="pictures of one size at a time (default: 1)"
    )
    parser.add_argument(
        "--tile",
        type=_number_or_word,
        default="auto",
        metavar="auto|N|off",
        help="side in pixels of the tiles that larger pictures go through in; the translation is the same (default: "
        "auto, tiles only where memory would not do for the whole, smaller ones if it runs out)",
    )
    _add_style(parser)
    _add_files(parser)
    add_video_options(parser)
    return parser


def _add_style(parser: Parser) -> None:
    group = parser.add_argument_group("what is shown")
    group.add_argument(
        "--scale",
        type=_number_or_word,
        default=1080,
        metavar="PIXELS|train|native",
        help="pixels on the short side that the network sees of larger pictures: fewer make larger strokes; as in "
        "training, or all. Translations have the size of their source (default: 1080)",
    )
    group.add_argument(
        "--strength", type=float, default=1.0, metavar="S", help="0 to 1: how much of the style (default: 1)"
    )
    group.add_argument("--keep-colour", action="store_true", help="the colours of the source, the rest translated")
    group.add_argument("--compare", action="store_true", help="write source and translation side by side")
    group.add_argument(
        "--both",
        action="store_true",
        help="translate back, too: into NAME_back, or with --compare beside the others",
    )


def _add_files(parser: Parser) -> None:
    group = parser.add_argument_group("files")
    group.add_argument(
        "--format",
        metavar="SUFFIX",
        type=lambda text: text.removeprefix("."),
        help="such as png for pictures, or mkv for clips; default: that of each input",
    )
    group.add_argument("--suffix", default="", metavar="TEXT", help="goes behind each name, such as _ink")
    group.add_argument(
        "--quality",
        type=int,
        metavar="Q",
        help="1 to 100, of formats that lose something (default: 95, or without loss where the source is so: in WebP, "
        "from AVIF to AVIF, and from HEIC to HEIC)",
    )
    group.add_argument(
        "--max-megapixels", type=int, default=179, metavar="N", help="refuse larger pictures (default: 179)"
    )
    group.add_argument(
        "--no-provenance",
        dest="provenance",
        action="store_false",
        help="do not write into translations that, and by which model, they were generated",
    )
    existing = group.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite", action="store_true", help="write over translations that exist; inputs are always safe"
    )
    existing.add_argument(
        "--skip-existing", action="store_true", help="go on with a job that was interrupted: leave out what is there"
    )
    group.add_argument(
        "--shard",
        type=_shard,
        default=_shard_of_torchrun(),
        metavar="I/N",
        help="do part I of N, so that N processes or machines share the work (default: that of torchrun, else 1/1)",
    )


def _main(argv: list[str] | None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    for name in ("batch_size", "quality", "max_megapixels"):
        value, most = getattr(args, name), 100 if name == "quality" else sys.maxsize
        if value is not None and not 1 <= value <= most:
            limits = f"1 to {most}" if most == 100 else "at least 1"
            parser.error(f"--{name.replace('_', '-')} must be {limits}, not {value}")
    if os.sep in args.suffix or "\0" in args.suffix:
        parser.error(f"--suffix must not hold {os.sep} or a zero byte: {args.suffix!r}")
    video = video_options(parser, args)
    if not args.model.exists():
        raise UserError(f"{args.model}: no such model; name a run folder, a .pt or a .safetensors file")

    from cyclestyle.provenance import Provenance
    from cyclestyle.translate.pipeline import Settings, translate_files
    from cyclestyle.translate.sources import find_jobs, make_folders
    from cyclestyle.translate.style import Style
    from cyclestyle.translate.translator import Translator
    from cyclestyle.translate.video import check_videos
    from cyclestyle.translate.writing import suffixes

    known = suffixes() | VIDEO_SUFFIXES
    if args.format is not None and f".{args.format.lower()}" not in known:
        formats = choices(args.format, sorted(suffix[1:] for suffix in known))
        parser.error(f"--format: '{args.format}' cannot be written; {formats}")
    try:
        style = Style(args.scale, args.strength, args.keep_colour)
        translator = Translator.load(args.model, args.direction, args.to, args.device, args.precision, args.tile, style)
    except OptionError as error:
        parser.error(f"--{error}")
    existing = "overwrite" if args.overwrite else "skip" if args.skip_existing else "refuse"
    jobs = find_jobs(
        args.inputs, args.out, existing, args.format, args.suffix, args.shard, args.both and not args.compare
    )
    part = f" (part {args.shard[0]} of {args.shard[1]})" * (args.shard[1] > 1)
    if not jobs:
        print(f"nothing is left to do{part}")
        return 0
    for told in _without_effect(args.format, video, jobs):
        print(f"note: {told}", file=sys.stderr)
    wrong = check_videos(jobs, video)
    for told in wrong.values():
        print(printable(f"failed: {told}"), file=sys.stderr)
    jobs = [job for job in jobs if job not in wrong]
    translator.scratch = jobs[0].target.parent
    names = f"{translator.source} to {translator.target}"
    model = f"{translator.model.path} (step {translator.model.step}): {names} ({translator.direction})"
    print(printable(f"{model}, {_counted(jobs)}{part}, on {translator.device.type}"))
    make_folders(jobs)
    origin = Provenance(translator.model.hash, translator.direction, names) if args.provenance else None
    back = translator.reversed() if args.both else None
    most = args.max_megapixels * 1_000_000
    settings = Settings(
        args.batch_size, most, args.quality, origin, args.compare, back, video, args.skip_existing, args.overwrite
    )
    failures = translate_files(translator, jobs, settings)
    done, failures = len(jobs) - failures, failures + len(wrong)
    print(printable(f"{done} translated into {args.out}") + (f", {failures} failed" if failures else ""))
    return 1 if failures else 0


def _counted(jobs: "list[Job]") -> str:
    """'1 picture and 2 clips'."""
    clips = sum(is_video(job.source) for job in jobs)
    counts = ((len(jobs) - clips, "picture"), (clips, "clip"))
    return " and ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts if count)


def _without_effect(kind: str | None, video: VideoOptions, jobs: "list[Job]") -> list[str]:
    """A line for options that concern clips where there are only pictures, or pictures where there are only clips."""
    named = [f"--format {kind}"] if kind else []
    of_clips = bool(kind) and f".{kind}".lower() in VIDEO_SUFFIXES
    concerns = {"clips": video.given() + named * of_clips, "pictures": named * (not of_clips)}
    are_clips = [is_video(job.source) for job in jobs]
    there = {"clips": any(are_clips), "pictures": not all(are_clips)}
    return [
        f"{', '.join(options)}: without effect, as there are no {what} to translate"
        for what, options in concerns.items()
        if options and not there[what]
    ]


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise ArgumentTypeError(f"must be I/N with I from 1 to N, such as 2/4, not {text}")
    return int(part), int(parts)


def _shard_of_torchrun() -> str:
    """Each process of `torchrun` knows its number and how many there are."""
    rank, count = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    is_told = "LOCAL_RANK" in os.environ and rank.isdecimal() and count.isdecimal()
    return f"{int(rank) + 1}/{count}" if is_told else "1/1"


def _number_or_word(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


if __name__ == "__main__":
    sys.exit(main())
