"""Components are chosen by a word from a table, and made with checked keywords."""

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cyclestyle.errors import UserError, choices


def build(kind: str, table: Mapping[str, Any], name: str, **options: Any) -> Any:
    """Call `table[name](**options)`.

    Raises:
        UserError: the name or an option is unknown; the text names `kind`, the word and what is accepted.
    """
    if name not in table:
        raise UserError(f"{kind}: unknown '{name}'; {choices(name, table)}")
    parameters = [p for p in inspect.signature(table[name]).parameters if p != "self"]
    for option in options:
        if option not in parameters:
            raise UserError(f"{kind} {name}: unknown option '{option}'; {choices(option, parameters)}")
    try:
        return table[name](**options)
    except (TypeError, ValueError) as error:
        reason = str(error)
        if isinstance(error.__cause__, ValidationError):  # as albumentations raises them
            mistakes = error.__cause__.errors()
            reason = "; ".join(f"{'.'.join(map(str, m['loc']))}: {m['msg']}, not {m['input']!r}" for m in mistakes)
        raise UserError(f"{kind} {name}: {reason}") from error
