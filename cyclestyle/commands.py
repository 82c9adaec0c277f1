"""What all commands share: how a user's mistake is told, and which exit status it gives."""

import sys
from collections.abc import Callable

from cyclestyle.errors import UserError


def run_command(command: Callable[[list[str] | None], int], argv: list[str] | None) -> int:
    """Run a command; a UserError, or a file that fails, becomes one line on standard error and status 1; Ctrl-C 130."""
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
        return 130
