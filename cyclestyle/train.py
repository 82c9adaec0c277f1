"""The training command: `python train.py --config FILE [section.key=value ...]`."""

import argparse
import sys
import textwrap
from pathlib import Path

from cyclestyle.commands import Parser, run_command
from cyclestyle.config import Config, ConfigError, differences, list_options, load_config
from cyclestyle.data.layout import split_folder
from cyclestyle.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Train as the arguments say; returns the exit status."""
    return run_command(_main, argv)


def _main(argv: list[str] | None) -> int:
    parser = Parser(
        "train",
        "train.py",
        settings=tuple(name for name, _, _ in list_options()),
        description="Train a CycleGAN between two folders of pictures.",
        epilog=_options_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of options; not needed with --resume")
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="where the run is kept (default: runs/NAME_OF_CONFIG)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in the run folder from its last checkpoint"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: auto")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="set an option, over the file")
    args = parser.parse_intermixed_args(argv)
    config, run_dir = _read_config(parser, args)

    from cyclestyle.memory import is_out_of_memory  # imports torch: after everything that can be wrong without it
    from cyclestyle.training.loop import train

    try:
        return train(config, run_dir, args.device, args.resume)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        size, batch = config.data.crop_size, config.train.batch_size
        raise UserError(
            f"out of memory with data.crop_size={size}, train.batch_size={batch}: lower one of them, then --resume "
            "(up to the last checkpoint nothing is lost), or start anew with fewer model.generator.channels"
        ) from None


def _read_config(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[Config, Path]:
    """The options of a new run, or on `--resume` those of the run with what the command line changes."""
    if args.config is None and not args.resume:
        meant = next((o for o in args.overrides if o.endswith((".yaml", ".yml"))), "configs/ink2photo.yaml")
        parser.error(f"--config FILE is needed, such as --config {meant}")
    if args.config is None and args.run_dir is None:
        parser.error("--resume needs --run-dir DIR or --config FILE, to know which run")
    run_dir = args.run_dir or Path("runs") / args.config.stem
    kept = run_dir / "config.yaml"
    if args.config is None and not kept.exists():
        raise ConfigError(
            f"{run_dir}: holds no run to resume (no config.yaml); check --run-dir, or start one with --config"
        )
    config = load_config(args.config or kept, args.overrides)
    if args.resume and args.config and kept.exists():
        config = _of_the_run(kept, config, args)
    for split in ("trainA", "trainB"):
        split_folder(config.data, split)
    return config, run_dir


def _of_the_run(kept: Path, asked: Config, args: argparse.Namespace) -> Config:
    config = load_config(kept, args.overrides)
    if asked.data.names != config.data.names:
        raise ConfigError(
            f"{kept.parent}: holds another run, of {' and '.join(config.data.names)}; {args.config} is of "
            f"{' and '.join(asked.data.names)}. Choose another --run-dir"
        )
    for name, before, now in differences(config, asked):
        print(f"note: {name} stays {before}, as in the run; {args.config} says {now}", file=sys.stderr)
    return config


def _options_text() -> str:
    """Every option of a configuration with its default and meaning."""
    lines = ["options of a configuration, with their defaults:"]
    section = ""
    for name, default, meaning in list_options():
        if name.split(".")[0] != section:
            section = name.split(".")[0]
            lines.append("")
        lines.append(f"  {name}={default}")
        lines += textwrap.wrap(meaning, 92, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
