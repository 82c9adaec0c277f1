"""The evaluation command: `python -m cyclestyle.evaluate MODEL`."""

import json
import sys
from pathlib import Path

from cyclestyle.commands import Parser, printable, run_command
from cyclestyle.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Evaluate as the arguments say; returns the exit status."""
    return run_command(_main, argv)


def _parser() -> Parser:
    parser = Parser(
        "evaluate",
        "python -m cyclestyle.evaluate",
        description="Measure a trained model on pictures that it has not seen: a table, evaluation.json and a page.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder, checkpoint (.pt) or .safetensors file")
    parser.add_argument("--data", metavar="ROOT", help="folder of testA, testB, trainA, trainB (default: the model's)")
    parser.add_argument("--split", choices=("test", "val", "train"), default="test", help="default: test")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="new folder for the result (default: in the run)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the squares (default: as in training)")
    parser.add_argument("--count", type=int, metavar="N", help="at most so many pictures a domain (default: all)")
    parser.add_argument("--paired", action="store_true", help="files of equal name show the same: compare with them")
    parser.add_argument(
        "--inception", type=Path, metavar="FILE", help="weights of InceptionV3, for FID, KID, precision and recall"
    )
    parser.add_argument("--rounds", type=int, default=200, help="drawings for the 95 %% intervals (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of which pictures are drawn (default: 0)")
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="pictures in one pass (default: 4)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="default: auto")
    return parser


def _main(argv: list[str] | None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    args.command = [*parser.prog.split(), *(sys.argv[1:] if argv is None else argv)]
    for name, least in (("size", 32), ("count", 4), ("rounds", 20), ("batch_size", 1), ("seed", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
    if args.seed >= 2**32:
        parser.error(f"--seed must be below 2**32, not {args.seed}")
    if not args.model.exists():
        raise UserError(f"{args.model}: no such model; name a run folder, a .pt or a .safetensors file")
    if args.data is not None and not Path(args.data).expanduser().is_dir():
        raise UserError(f"--data {args.data}: there is no such folder; name one that holds testA and testB")

    from cyclestyle.checkpoint import read_model
    from cyclestyle.evaluate import protocol
    from cyclestyle.evaluate.measure import load_sets, measure, plain
    from cyclestyle.evaluate.page import write_page
    from cyclestyle.evaluate.table import table
    from cyclestyle.files import atomic_write, new_folder, refuse_used_folder
    from cyclestyle.translate.style import Style
    from cyclestyle.translate.translator import Translator

    if args.out is not None:
        refuse_used_folder(args.out)
    model = read_model(args.model)
    translators = {
        key: Translator(model, direction, args.device, args.precision, style=Style("native"))
        for key, direction in (("ab", "AtoB"), ("ba", "BtoA"))
    }
    device, dtype = translators["ab"].device, str(translators["ab"].dtype).removeprefix("torch.")
    config = protocol.data_config(model, args.data, args.size)
    extractors, without = protocol.pick_extractors(args.inception, device)
    if without:
        print(without, file=sys.stderr)
    sets = load_sets(config, args.split, args.count, args.seed, args.paired)
    for line in protocol.notes(model, config, sets, args):
        print(line, file=sys.stderr)
    out = args.out or protocol.default_out(model, args.split)
    with new_folder(out) as folder:  # begun now, as it may turn out that nothing can be written there
        directions = measure(translators, sets, extractors, args.rounds, args.paired, args.batch_size)
        told = protocol.protocol(model, config, sets, extractors, args, f"{device}, {dtype}")
        with atomic_write(folder / "evaluation.json") as file:
            file.write(json.dumps(told | {"directions": plain(directions)}, indent=1).encode())
        write_page(folder / "evaluation.html", told, directions, protocol.metrics_of(model))
    print(printable(f"{model.path} (step {model.step}), {args.split} pictures of {config.root}\n"))
    print(table(directions))
    for line in protocol.doubts(directions):
        print(f"\n{line}", file=sys.stderr)
    print(printable(f"\nwritten: {out / 'evaluation.html'} (open it in a browser) and {out / 'evaluation.json'}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
