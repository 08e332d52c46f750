"""JSON of strangers is checked before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crrn.errors import RunError
from crrn.records import misfit, read_json

SHAPE = {"name": str, "sizes": [int], "scores": {str: float}, "note?": (str, None), "rest": object, "more?": [int, ...]}
GOOD = {"name": "a", "sizes": [1, 2], "scores": {"psnr": 1, "ssim": 0.5}, "rest": None, "else": 3}


def test_what_fits_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for note in ({}, {"note": None}, {"note": "é"}):
        path.write_text(json.dumps(GOOD | note, ensure_ascii=False), encoding="utf-8")
        assert read_json(path, SHAPE) == GOOD | note


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": 3}, "name is 3, not a text"),
        ({"name": True}, "name is true, not a text"),
        ({"sizes": [1, 2.5]}, "sizes.1 is 2.5, not a whole number"),
        ({"sizes": [True]}, "sizes.0 is true, not a whole number"),
        ({"sizes": {}}, "sizes is {}, not a list"),
        ({"scores": {"psnr": "x" * 99}}, 'scores.psnr is "xxx'),
        ({"scores": None}, "scores is null, not an object"),
        ({"more": []}, "more is empty"),
        ({"note": 5}, "note is 5, not a text or null"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], says: str) -> None:
    assert says in misfit(GOOD | change, SHAPE)
    assert len(misfit(GOOD | change, SHAPE)) < 120


def test_files_that_are_no_json_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"", b"{", b"\xff", b"[" * 100_000, b'"\\ud800"', b"[]", json.dumps({"name": "a"}).encode()):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"a\.json .*: do this\.$") as error:
            read_json(path, SHAPE, "do this")
        assert "\n" not in str(error.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(RunError, match="cannot be read"):
        read_json(path)
    with pytest.raises(RunError, match="cannot be read"):
        read_json(tmp_path / "b.json")


def test_names_that_are_no_text_pass(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"file": "\udcff.jpg"}))
    assert read_json(tmp_path / "a.json", {"file": str}) == {"file": "\udcff.jpg"}
