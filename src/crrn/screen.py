"""What commands print with rich: a console that shows every text as it is."""

from __future__ import annotations

import io
import sys

from rich.console import Console

WIDTH = 200
"""Columns of a table where the output is no terminal."""


def console() -> Console:
    """A console on stdout that interprets nothing: "[red]" and ":bug:" in a file's name stay what they are.

    Give styles to rich as such (`style="bold"`, `rich.text.Text`), not as markup within a text.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that is no text must not end a command
    return Console(soft_wrap=True, markup=False, emoji=False, width=None if sys.stdout.isatty() else WIDTH)
