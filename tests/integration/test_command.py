"""The command ``crrn``: removing reflections by ordinary flags, and the Hydra commands behind it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crrn.catalogue import METHODS
from crrn.cli import main as command
from crrn.nets import Prediction, save_network
from tests.conftest import write_photo
from tests.integration.conftest import Outcome
from tests.networks import lively

Crrn = Callable[..., Outcome]


@pytest.fixture
def crrn(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Crrn:
    """Runs ``crrn`` in this process, in an empty working directory."""

    def run(*arguments: str) -> Outcome:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["crrn", *arguments])
        capfd.readouterr()
        status = 0
        try:
            command.main()
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        out, err = capfd.readouterr()
        return Outcome(status, out, err)

    return run


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_photos_folders_and_a_pattern_at_once(crrn: Crrn, tmp_path: Path) -> None:
    save_network(lively("crrn"), tmp_path / "net.safetensors", Prediction(32, 80))
    for number, name in enumerate(("a.png", "in/b.png", "in/old/c.png", "more/d.png")):
        write_photo(tmp_path / name, number)
    for name in ("in/x.gif", "in/notes.txt"):
        (tmp_path / name).touch()
    inputs = ("a.png", "in", "more/*.png")
    flags = ("--strength", "0", "--model", "net.safetensors", "--reflection", "--compare", "-o", "results")
    outcome = crrn("remove", *inputs, *flags)
    assert outcome.status == 0, outcome.err
    assert all(word in outcome.err for word in ("1 .txt", "1 .gif", "notes.txt", "x.gif"))
    assert re.search(r"^model: net\b.* 32\b.*strength 0; 4 of 4\b", outcome.err)
    assert outcome.err.endswith("the results are in results\n")
    folder = tmp_path / "results"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
    assert names == {
        f"{name}{layer}.png" for name in ("a", "b", "old/c", "d") for layer in ("", "_reflection", "_side_by_side")
    }
    np.testing.assert_array_equal(pixels(folder / "a.png"), pixels(tmp_path / "a.png"))
    again = crrn("remove", *inputs, *flags)
    assert again.status == 0 and "0 of 4" in again.err and again.err.endswith("the results are in results\n")
    stronger = crrn("remove", "a.png", "--model", "net.safetensors", "-s", "100", "-o", "results")
    assert stronger.status == 0 and "1 of 1" in stronger.err
    assert (pixels(folder / "a.png") != pixels(tmp_path / "a.png")).any()


@pytest.mark.slow
def test_the_results_are_those_of_predict(crrn: Crrn, tmp_path: Path) -> None:
    write_photo(tmp_path / "photo.jpg", 0)
    assert crrn("remove", "photo.jpg").status == 0
    done = subprocess.run(
        [sys.executable, "-m", "crrn", "predict", "input=photo.jpg", "output=other"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clean/photo.jpg").read_bytes() == (tmp_path / "other/photo.jpg").read_bytes()


def test_a_broken_photo_is_named_and_the_others_are_done(crrn: Crrn, tmp_path: Path) -> None:
    write_photo(tmp_path / "in/good.jpg", 0)
    (tmp_path / "in/bad.jpg").write_bytes(b"no photo")
    outcome = crrn("remove", "in", "--model", "identity")
    assert outcome.status == 1
    assert re.search(r"^error: 1 of 2 failed \(bad\.jpg\), .*others are in clean", outcome.err, re.MULTILINE)
    assert [path.name for path in (tmp_path / "clean").glob("*.jpg")] == ["good.jpg"]


def test_a_summary_names_five_photos_and_no_others_where_all_fail(crrn: Crrn, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / f"in/{number}.jpg").write_bytes(b"GIF89a")
    outcome = crrn("remove", "in", "--model", "identity")
    assert outcome.status == 1 and outcome.err.count("is GIF, which is not supported: give JPEG") == 6
    *_, last = outcome.err.splitlines()
    assert last == "error: 6 of 6 failed (0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, ...), for the reasons above."


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("remov", "photo.jpg"), 2, "'remove'"),
        (("tran",), 2, "'train'"),
        (("photo.jpg",), 2, "crrn remove photo.jpg\n"),
        (("gone photo.jpg", "-o", "x"), 2, "crrn remove 'gone photo.jpg'\n"),
        (("photos/*",), 2, "crrn remove 'photos/*'\n"),
        (("remove",), 2, "PHOTO"),
        (("remove", "photo.jpg", "--strenght", "3"), 2, "--strength"),
        (("remove", "photo.jpg", "--strength", "much"), 2, "--strength"),
        (("remove", "photo.jpg", "--strength", "300"), 1, "strength=300"),
        (("remove", "photo.jpg", "--working-size", "big"), 1, "working_size='big'"),
        (("remove", "photo.jpg", "--model", "yl18"), 1, "yl19?"),
        (("remove", "gone.jpg"), 1, "gone.jpg"),
        (("remove", "photo.jpg", "-o", "photo.jpg"), 1, "photo.jpg"),
    ],
)
def test_mistakes_say_what_was_meant(
    crrn: Crrn, tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    write_photo(tmp_path / "photo.jpg", 0)
    outcome = crrn(*arguments)
    assert outcome.status == status and said in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "clean").exists()


def test_help_is_one_screen_and_models_are_listed(crrn: Crrn) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        outcome = crrn(*arguments)
        text = outcome.out + outcome.err
        assert len(text.splitlines()) <= 24
        assert all(f"  {name} " in text for name in ("remove", "models", *command.HYDRA))
    assert len(crrn("remove", "--help").out.splitlines()) <= 24
    listed = crrn("models").out
    assert all(name in listed and about in listed for name, about in METHODS.items())
    assert crrn("--version").out.startswith("crrn ")


def test_help_is_fast_and_imports_nothing_heavy() -> None:
    script = (
        "import sys, time; sys.argv = ['crrn', '--help']\n"
        "from crrn.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(time.process_time(), *{'torch', 'hydra', 'numpy', 'PIL'} & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds, *heavy = done.stderr.split()
    assert not heavy and float(seconds) < 1  # of a core


@pytest.mark.slow
@pytest.mark.parametrize("name", list(command.HYDRA))
def test_the_other_commands_get_their_arguments(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crrn", name, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    own = subprocess.run(
        [sys.executable, "-m", f"crrn.cli.{name}", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == own.stdout and done.stdout.startswith("crrn: ")


def test_wrong_settings_of_another_command_keep_their_status(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crrn", "export", "checkpoint=gone.ckpt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "gone.ckpt is missing" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_models(shell: str) -> None:
    def completed(words: str) -> str:
        environment = {"_CRRN_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": words, "COMP_WORDS": words}
        environment |= {"COMP_CWORD": str(words.count(" ")), "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        done = subprocess.run(
            [sys.executable, "-c", "from crrn.cli.main import main; main()"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    assert "remove" in completed("crrn rem") and "train" not in completed("crrn rem")
    assert "yl19" in completed("crrn remove --model yl")
