"""The console command `cyclestyle`: `cyclestyle translate` is `python -m cyclestyle.translate`, and so on."""

import sys
from importlib import import_module

from cyclestyle import __version__
from cyclestyle.errors import choices

COMMANDS = {
    "train": ("cyclestyle.train", "train on two folders of pictures"),
    "translate": ("cyclestyle.translate.__main__", "translate pictures with a trained model"),
    "evaluate": ("cyclestyle.evaluate.__main__", "measure a trained model"),
    "provenance": ("cyclestyle.provenance", "show what translations say of their origin"),
    "synthetic": ("cyclestyle.data.synthetic", "draw a set of landscapes to train on"),
    "doctor": ("cyclestyle.data.doctor", "find what is wrong with a set of pictures, and clean it"),
    "split": ("cyclestyle.data.split", "hold test pictures out of two folders"),
    "demo": ("cyclestyle.demo", "draw, train, translate and compare, in a few minutes"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; returns its exit status."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["--version"]:
        print(f"cyclestyle {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print("usage: cyclestyle COMMAND [--help] ...\n")
        print("\n".join(f"  {name:10} {meaning}" for name, (_, meaning) in COMMANDS.items()))
        return 0 if words else 2
    if words[0] not in COMMANDS:
        print(f"error: unknown command '{words[0]}'; {choices(words[0], COMMANDS)}", file=sys.stderr)
        return 2
    status: int = import_module(COMMANDS[words[0]][0]).main(words[1:])
    return status


if __name__ == "__main__":
    sys.exit(main())
