"""Lines and words a sentence of README.md and the pages of this folder: `python docs/readability.py [FILE ...]`.

Code, tables, headings and pictures are left out; a name in backticks is one word; an item of a list ends a sentence.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def sentences(markdown: str) -> list[str]:
    """The sentences of a page's prose, in their order."""
    text = re.sub(r"^(```|~~~).*?^\1\s*$", "\n", markdown, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^\s*(\||#|:::|<|!\[).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "Code", text)
    text = re.sub(r"^\s*([-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.replace("**", "")))
    found = (re.split(r"(?<=[.!?])\s+(?=[A-Z0-9(])", paragraph) for paragraph in paragraphs)
    return [sentence for group in found for sentence in group if len(sentence.split()) > 1]


def main(files: list[Path]) -> None:
    """Print a row for each file, and one for all."""
    rows = [(file.name, file.read_text(encoding="utf-8")) for file in files]
    if len(rows) > 1:
        rows.append(("all", "\n\n".join(text for _, text in rows)))
    print(f"{'':24}{'lines':>7}{'sentences':>11}{'words each':>12}{'longest':>9}")
    for name, text in rows:
        lengths = [len(sentence.split()) for sentence in sentences(text)] or [0]
        mean = sum(lengths) / len(lengths)
        print(f"{name:24}{text.count(chr(10)):7}{len(lengths):11}{mean:12.1f}{max(lengths):9}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [HERE.parent / "README.md", *sorted(HERE.glob("*.md"))])
