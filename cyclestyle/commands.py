"""What all commands share: their names, how a user's mistake is told, and which exit status it gives."""

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from cyclestyle.errors import UserError, choices, nearest


class Parser(argparse.ArgumentParser):
    """Knows the name it was called by, and what a mistyped option may have meant.

    Args:
        name: of the sub-command of `cyclestyle`.
        prog: how the command is called otherwise.
        settings: names of the `section.key=value` that the command takes.
        others: as of ArgumentParser.
    """

    def __init__(self, name: str, prog: str, settings: tuple[str, ...] = (), **others: Any) -> None:
        package = Path(sys.argv[0])  # cyclestyle, or cyclestyle/__main__.py for python -m cyclestyle
        called = package.stem == "cyclestyle" or package.parts[-2:] == ("cyclestyle", "__main__.py")
        super().__init__(prog=f"cyclestyle {name}" if called else prog, **others)
        self._settings = settings

    def error(self, message: str) -> NoReturn:
        start, _, words = message.partition("unrecognized arguments: ")
        word = words.split()[0] if words.strip() else ""
        if word.startswith("-"):
            message = f"unknown option {word}; {self._meant(word)}"
        elif not start:
            message = f"one argument too many: '{words}'"
        self.exit(2, f"error: {message} ({self.prog} --help lists all options)\n")

    def _meant(self, word: str) -> str:
        option, _, value = word.lstrip("-").replace("-", "_").partition("=")
        name = next((s for s in self._settings if option in (s, s.rpartition(".")[2])), nearest(option, self._settings))
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        if name and not nearest(word, flags):
            return f"options of a configuration have no dashes: {name}={value or 'VALUE'}"
        return choices(word, flags)


def printable(text: str) -> str:
    """The text as any terminal takes it, also where bytes of file names are not text."""
    return os.fsencode(text).decode(errors="replace")


def run_command(command: Callable[[list[str] | None], int], argv: list[str] | None) -> int:
    """Run a command; a UserError, or a file that fails, becomes one line on standard error and status 1; Ctrl-C 130.

    SIGTERM, as `kill` and cluster schedulers send it, ends it as Ctrl-C does, with status 143.
    """
    signals: list[int] = []

    def stop(number: int, frame: object) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    warnings.filterwarnings("ignore", module="PIL|tifffile")  # of damaged files, of which errors tell in one line
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main else None
    try:
        return command(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("cyclestyle"):
            raise
        where = "activate the environment it is in (source .venv/bin/activate), or install it: pip install -e ."
        print(f"error: the package {error.name} is not installed for {sys.executable}; {where}", file=sys.stderr)
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + (signals or [signal.SIGINT])[0]
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)
