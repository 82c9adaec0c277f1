"""YAML as people expect it: 2e-4 is a number, `no` and `on` are words, 010 is ten, and a key may stand once."""

import re
from pathlib import Path
from typing import Any

import yaml

Lines = dict[tuple[Any, ...], int]


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2, in place of PyYAML's 1.1."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(f"^(?:{_pattern})$"),
        [*_first.rstrip("\0"), ""] if _tag == "null" else list(_first),
    )
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value))

REMEDIES = {
    "\\t": "indent with spaces, not tabs",
    "mapping values are not allowed": "keys of one section need the same indentation, and a space behind each colon",
    "expected <block end>": "keys of one section need the same indentation",
}


class _Dumper(yaml.SafeDumper):
    """Puts quotes around words that either version of YAML would take for something else."""


_Dumper.yaml_implicit_resolvers = {
    first: yaml.SafeDumper.yaml_implicit_resolvers.get(first, []) + _Loader.yaml_implicit_resolvers.get(first, [])
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


def dump_yaml(values: Any) -> str:
    """YAML text that `parse_yaml` reads back as the same values."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """Read a YAML file.

    Returns:
        the value, and the line on which each key stands, by its path of keys.

    Raises:
        ValueError: `path:line: ...` for a missing file, broken syntax or a key that stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ValueError(f"{path}: cannot be read: {reason}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> tuple[Any, Lines]:
    """Parse YAML text; as `read_yaml`, with `name` for the path."""
    lines: Lines = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return (None if node is None else _value(loader, node, (), lines, name)), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark and not name.startswith("command line") else name
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        remedy = next((f"; {text}" for sign, text in REMEDIES.items() if sign in str(reason)), "")
        raise ValueError(f"{place}: not valid YAML: {reason}{remedy}") from None
    except RecursionError:
        raise ValueError(f"{name}: not valid here: an alias that contains itself") from None


def _value(loader: _Loader, node: yaml.Node, key: tuple[Any, ...], lines: Lines, name: str) -> Any:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*key, index)] = item.start_mark.line + 1
        return [_value(loader, item, (*key, index), lines, name) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        try:
            return loader.construct_object(node, deep=True)
        except (ValueError, KeyError, AttributeError):
            line = node.start_mark.line + 1
            raise ValueError(f"{name}:{line}: {'.'.join(map(str, key))}: {node.value!r} is no {node.tag}") from None
    mapping = {}
    for key_node, value_node in node.value:
        part = _value(loader, key_node, key, lines, name)
        line = key_node.start_mark.line + 1
        if not isinstance(part, str):
            raise ValueError(f"{name}:{line}: {'.'.join(map(str, (*key, part)))}: a key must be a word, not {part!r}")
        here = (*key, part)
        if part in mapping:
            raise ValueError(
                f"{name}:{line}: {'.'.join(map(str, here))}: stands twice, first on line {lines[here]}; delete one"
            )
        lines[here] = line
        mapping[part] = _value(loader, value_node, here, lines, name)
    return mapping
