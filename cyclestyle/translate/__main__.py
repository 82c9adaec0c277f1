"""The translation command: `python -m cyclestyle.translate MODEL INPUT... -o OUT`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cyclestyle.commands import Parser, run_command
from cyclestyle.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from cyclestyle.translate.sources import Job
    from cyclestyle.translate.translator import Translator


def main(argv: list[str] | None = None) -> int:
    """Translate as the arguments say; returns the exit status."""
    return run_command(_main, argv)


def _main(argv: list[str] | None) -> int:
    parser = Parser(
        "translate", "python -m cyclestyle.translate", description="Translate pictures with a trained model."
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder, checkpoint (.pt) or .safetensors file")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="pictures, folders (with all below them) or globs")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="folder for the translations")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--direction", choices=("AtoB", "BtoA"), help="default: AtoB")
    way.add_argument(
        "--to", metavar="NAME", help="the domain to translate to, by its name in data.names, such as photo"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="default: auto")
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="pictures of one size at a time (default: 1)"
    )
    parser.add_argument(
        "--tile",
        type=_tile,
        default="auto",
        metavar="auto|N|off",
        help="side in pixels of the tiles that larger pictures go through in; the translation is the same (default: "
        "auto, tiles only where memory would not do for the whole)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="write over translations that exist; inputs are always safe"
    )
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error(f"--batch-size must be at least 1, not {args.batch_size}")
    if not args.model.exists():
        raise UserError(f"{args.model}: no such model; name a run folder, a .pt or a .safetensors file")

    from cyclestyle.translate.sources import find_jobs, make_folders
    from cyclestyle.translate.translator import Translator

    translator = Translator.load(args.model, args.direction, args.to, args.device, args.precision, args.tile)
    jobs = find_jobs(args.inputs, args.out, args.overwrite)
    translator.scratch = jobs[0].target.parent
    print(
        f"{translator.model.path} (step {translator.model.step}): {translator.source} to {translator.target} "
        f"({translator.direction}), {len(jobs)} picture{'s' * (len(jobs) != 1)}, on {translator.device.type}"
    )
    make_folders(jobs)
    failures = _translate(translator, jobs, args.batch_size)
    print(f"{len(jobs) - failures} translated into {args.out}" + (f", {failures} failed" if failures else ""))
    return 1 if failures else 0


def _tile(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _translate(translator: "Translator", jobs: "list[Job]", batch_size: int) -> int:
    """Translate in order, neighbours of one size together; reports what fails and goes on. Returns how many failed."""
    from tqdm import tqdm

    from cyclestyle.images import read_image

    failed = 0
    group: list[tuple[Job, np.ndarray]] = []
    with tqdm(total=len(jobs), unit="picture", disable=None) as bar:

        def finish() -> None:
            nonlocal failed
            for error in _translate_group(translator, group):
                bar.write(f"failed: {error}", file=sys.stderr)
                failed += 1
            bar.update(len(group))
            group.clear()

        for job in jobs:
            try:
                picture = read_image(job.source)
            except UserError as error:
                bar.write(f"failed: {error}", file=sys.stderr)
                failed += 1
                bar.update()
                continue
            if group and (
                len(group) == batch_size or translator.padded_shape(group[0][1]) != translator.padded_shape(picture)
            ):
                finish()
            if told := translator.tiling(picture):
                bar.write(f"{job.source}: {told}")
            group.append((job, picture))
        finish()
    return failed


def _translate_group(translator: "Translator", group: "list[tuple[Job, np.ndarray]]") -> list[str]:
    """Translate and write; returns a line for each picture that failed."""
    from cyclestyle.images import write_image

    try:
        results = translator.batch([picture for _, picture in group])
    except UserError as error:
        return [f"{job.source}: {error}" for job, _ in group]
    errors = []
    for (job, _), result in zip(group, results, strict=True):
        try:
            write_image(job.target, result)
        except OSError as error:
            errors.append(f"{job.target}: cannot be written: {error.strerror or error}")
        except UserError as error:
            errors.append(str(error))
    return errors


if __name__ == "__main__":
    sys.exit(main())
