"""Errors that a user can cause and mend; commands print their text alone, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user can mend: the text names the file, key or value and the remedy."""


class OptionError(UserError):
    """A value that an option does not take; the text begins with the option's name, without dashes."""


def nearest(word: str, accepted: Iterable[str]) -> str:
    """The accepted word most like `word`, or '' if none is near."""
    found = difflib.get_close_matches(str(word), list(accepted), n=1, cutoff=0.5)
    return found[0] if found else ""


def choices(word: str, accepted: Iterable[str]) -> str:
    """'did you mean X? accepted: ...' for a message about an unknown word."""
    accepted = [str(a) for a in accepted]
    near = nearest(word, accepted)
    if near and len(accepted) > 20:
        return f"did you mean '{near}'?"
    return (f"did you mean '{near}'? " if near else "") + "accepted: " + ", ".join(accepted)
