"""The scene of a photo, told from its file's name."""

from __future__ import annotations

import re

from crrn.errors import ConfigError

SCENE_PATTERN = r"([^_]+_[^_]+)"
"""The scene of a pair: the first two words of its file's name."""


def scene_form(pattern: str, setting: str) -> re.Pattern[str]:
    """A pattern of scenes, checked; ``setting`` is its name, for messages."""
    try:
        form = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"{setting}={pattern!r} is not a regular expression ({error}): give one with a group, such as "
            f"{SCENE_PATTERN!r}."
        ) from error
    if form.groups < 1:
        raise ConfigError(
            f"{setting}={pattern!r} has no group: put the scene's part in parentheses, as in {SCENE_PATTERN!r}."
        )
    return form


def scene_of(name: str, pattern: re.Pattern[str] | str, default: str) -> str:
    """The first group of a pattern of scenes at the start of a name, or the default where it is not there."""
    found = re.match(pattern, name)
    return found[1] if found else default
