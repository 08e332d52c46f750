"""How Sphinx builds these pages: `make docs`. Nothing is downloaded, and every warning is an error."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
shutil.rmtree(HERE / "experiments", ignore_errors=True)
shutil.copytree(HERE.parent / "experiments", HERE / "experiments")  # Sphinx reads only what lies below its folder

project = "crrn"
author = "crrn contributors"
copyright = "crrn contributors"
release = importlib.metadata.version("crrn")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
default_role = "code"  # docstrings write `names` in single backticks

myst_heading_anchors = 3  # links such as page.md#heading

autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "crrn"
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True


def experiments_inside(app: Sphinx, page: str, source: list[str]) -> None:
    """Links between docs/ and experiments/ lead to the copy of experiments/ in this folder, and back."""
    up = "../" * page.count("/")
    source[0] = re.sub(r"\]\((?:\.\./)+experiments/", f"]({up}experiments/", source[0])
    source[0] = re.sub(r"\]\((?:\.\./)+docs/", f"]({up}", source[0])


def bars_literal(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """A docstring's |x| is an absolute value; reStructuredText would take it for a substitution."""
    lines[:] = [re.sub(r"(`[^`]*`)|\|", lambda found: found[1] or r"\|", line) for line in lines]


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", bars_literal)
    app.connect("source-read", experiments_inside)
