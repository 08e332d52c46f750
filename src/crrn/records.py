"""Reading JSON that anyone may have written: it holds what its reader needs, or is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crrn.errors import RunError

WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    None: "null",
}


def read_json(path: Path, shape: Any = dict, remedy: str = "make it again") -> Any:
    """The value in a JSON file.

    Args:
        path: the file.
        shape: what the value must be. A type: `str`, `int`, `float` (a whole number too), `dict`, `list`, `object`
            (anything); None: null; a tuple of shapes: one of them; [SHAPE]: a list of such; [SHAPE, ...]: not an empty
            one; {"KEY": SHAPE, "KEY?": SHAPE}: an object with these keys, of which the latter may be absent;
            {str: SHAPE}: an object with such values.
        remedy: what mends it, for the message.

    Raises:
        RunError: the file cannot be read, is torn, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape")  # names that are no text may come later
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}): {remedy}.") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not readable JSON ({error}): {remedy}.") from error
    wrong = misfit(value, shape)
    if wrong:
        raise RunError(f"{path} is not as crrn writes it, as {wrong}: {remedy}.")
    return value


def misfit(value: Any, shape: Any, place: str = "") -> str:
    """What is wrong with the value, such as "sessions.0.git is missing"; "" where it has the shape of `read_json`."""
    if isinstance(shape, tuple):
        return "" if any(not misfit(value, one) for one in shape) else _is_not(value, place, shape)
    kind = dict if isinstance(shape, dict) else list if isinstance(shape, list) else shape
    if kind is not object and not _is(value, kind):
        return _is_not(value, place, (kind,))
    if isinstance(shape, list) and len(shape) > 1 and not value:
        return f"{place or 'it'} is empty"
    if isinstance(shape, list):
        inner = [(str(number), entry, shape[0]) for number, entry in enumerate(value)]
    elif isinstance(shape, dict) and str in shape:
        inner = [(key, entry, shape[str]) for key, entry in value.items()]
    elif isinstance(shape, dict):
        missing = [key for key in shape if not key.endswith("?") and key not in value]
        if missing:
            return f"{_join(place, missing[0])} is missing"
        names = {key.removesuffix("?"): one for key, one in shape.items()}
        inner = [(key, value[key], one) for key, one in names.items() if key in value]
    else:
        inner = []
    return next(filter(None, (misfit(entry, one, _join(place, key)) for key, entry, one in inner)), "")


def _is(value: Any, kind: type | None) -> bool:
    if kind is None or value is None:
        return value is kind
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _is_not(value: Any, place: str, kinds: tuple[Any, ...]) -> str:
    shown = json.dumps(value, default=repr)
    words = " or ".join(WORDS[dict if isinstance(k, dict) else list if isinstance(k, list) else k] for k in kinds)
    return f"{place or 'it'} is {shown if len(shown) < 60 else shown[:60] + '...'}, not {words}"


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
