"""Mistakes in a configuration, in the words of its user."""

from typing import Any, get_args

from pydantic import BaseModel

from cyclestyle.errors import choices

Places = dict[tuple[Any, ...], str]


def describe_error(error: Any, root: type[BaseModel], options: list[str], places: Places, name: str) -> str:
    """One line for one error of pydantic: place, key, what is wrong, the value, the nearest valid one.

    Args:
        root: the model that was validated.
        options: dotted names of all its options.
        places: where each key was given, such as `path.yaml:12`; `name` stands for the rest.
    """
    location, section = _without_tags(error["loc"], root)
    if location[:2] == ("data", "augment") and places and location[:3] not in places:
        location = (*location[:2], *location[3:])  # one list for both domains
    above = (places[location[:n]] for n in range(len(location), 0, -1) if location[:n] in places)
    below = (place for key, place in places.items() if key[: len(location)] == location)
    place = next(above, None) or next(below, name)
    value, context = error["input"], error.get("ctx", {})
    kind = error["type"]
    if kind == "extra_forbidden":
        text = _unknown_key(location, section, options)
    elif kind in ("literal_error", "union_tag_invalid"):
        expected = context.get("expected") or context["expected_tags"]
        accepted = [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]
        given = value.get("name") if isinstance(value, dict) else value
        text = f"{given!r} is not a choice; {choices(str(given), accepted)}"
    elif kind == "missing":
        text = "is missing here"
    elif kind in ("too_short", "too_long"):
        text = f"must hold {context.get('min_length', context.get('max_length'))} words, not {value!r}"
    elif kind == "value_error":
        text = str(context["error"])
    elif kind in ("model_type", "model_attributes_type"):
        text = f"must be a section with keys, not {value!r}"
    else:
        wanted = error["msg"].replace("Input should be ", "must be ").replace("valid integer", "whole number")
        bound = next((context[b] for b in ("ge", "le") if b in context), None)
        text = f"{wanted}, not {value!r}" + (f"; nearest accepted: {bound}" if bound is not None else "")
    return f"{place}: {'.'.join(map(str, location))}: {text}" if location else f"{place}: {text}"


def _without_tags(loc: tuple[Any, ...], root: type[BaseModel]) -> tuple[tuple[Any, ...], type[BaseModel]]:
    """The key as the user wrote it (pydantic adds the choice of a union to it), and the section it stands in."""
    section = root
    key: list[Any] = []
    tagged: dict[str, type[BaseModel]] = {}
    for part in loc:
        if part in tagged:
            section, tagged = tagged[part], {}
            continue
        key.append(part)
        field = section.model_fields.get(part) if isinstance(part, str) else None
        types = [t for t in (get_args(field.annotation) or (field.annotation,)) if isinstance(t, type)] if field else []
        models = [t for t in types if issubclass(t, BaseModel)]
        if len(models) == 1:
            section = models[0]
        tagged = {m.model_fields["name"].default: m for m in models} if len(models) > 1 else {}
    return tuple(key), section


def _unknown_key(location: tuple[Any, ...], section: type[BaseModel], options: list[str]) -> str:
    key = str(location[-1])
    accepted = list(section.model_fields)
    elsewhere = [n for n in options if n.split(".")[-1] == key and n != ".".join(map(str, location))]
    if elsewhere:
        return f"unknown key; did you mean {' or '.join(elsewhere)}?"
    return f"unknown key; {choices(key, accepted)}"
