"""The predict command from its first line to its last, on tiny photos."""

from __future__ import annotations

import inspect
import os
import pickle
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from crrn.inference.batch import RECORD
from crrn.nets import CRRN, Prediction, save_network
from tests.conftest import write_photo
from tests.integration.conftest import ROOT, Command, Outcome
from tests.unit.inference.test_photo import broken

Predict = Callable[..., Outcome]


@pytest.fixture
def predict(command: Command) -> Predict:
    """Runs ``crrn-predict`` in this process, in an empty working directory."""
    return partial(command, "predict", "device=cpu")


def results(folder: Path) -> dict[str, int]:
    """The result files and their times of change."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name != RECORD
    }


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image)


def test_one_photo_with_all_its_layers(predict: Predict, tmp_path: Path) -> None:
    write_photo(tmp_path / "photo.png", 0)
    outcome = predict("input=photo.png", "output=default")
    assert outcome.status == 0 and "model: crrn-small" in outcome.err, outcome.err
    outcome = predict("input=photo.png", "output=out", "remover=yl19", "reflection=true", "side_by_side=true")
    assert outcome.status == 0, outcome.err
    assert set(results(tmp_path / "out")) == {"photo.png", "photo_reflection.png", "photo_side_by_side.png"}
    mixture, background = pixels(tmp_path / "photo.png"), pixels(tmp_path / "out/photo.png")
    assert (mixture != background).any()
    both = pixels(tmp_path / "out/photo_side_by_side.png")
    np.testing.assert_array_equal(both, np.concatenate((mixture, background), axis=1))
    # B + R = I but where one was clipped
    total = background.astype(int) + pixels(tmp_path / "out/photo_reflection.png")
    assert np.median(np.abs(total - mixture)) <= 1


def test_a_checkpoint_and_its_options(predict: Predict, tmp_path: Path) -> None:
    write_photo(tmp_path / "photo.png", 0)
    torch.manual_seed(0)
    network = CRRN(0.03)
    save_network(network, tmp_path / "net.safetensors")
    options = ("self_ensemble=true", "precision=bf16", "memory=2")
    outcome = predict("input=photo.png", "output=out", "remover=net.safetensors", *options)
    assert outcome.status == 0 and "model: net" in outcome.err, outcome.err
    # untrained, it is the identity
    np.testing.assert_array_equal(pixels(tmp_path / "out/photo.png"), pixels(tmp_path / "photo.png"))


def test_working_size_and_strength_on_every_format(predict: Predict, tmp_path: Path) -> None:
    """A network that darkens by a constant: the photo's detail stays, whatever the size that the network sees."""
    network = CRRN(0.03)
    torch.nn.init.constant_(network.iin.head[-1].bias, 0.1)  # type: ignore[union-attr, arg-type]
    save_network(network, tmp_path / "net.safetensors", Prediction(working_size=32, strength=50))
    for number, name in enumerate(("a.jpg", "b.png", "c.webp", "d.tif")):
        write_photo(tmp_path / "in" / name, number, 60, 90)
    rng = np.random.default_rng(0)
    deep = rng.integers(20000, 60000, (60, 90, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "in/deep.png"), deep)
    outcome = predict("input=in", "output=out", "remover=net.safetensors")
    assert outcome.status == 0, outcome.err
    assert re.search(r"model: net\b.* 32\b.*strength 50; 5 of 5\b", outcome.err)
    for name in ("b.png", "d.tif"):
        before, after = pixels(tmp_path / "in" / name).astype(int), pixels(tmp_path / "out" / name)
        inner = (before > 30).all(-1)
        assert np.abs(before - after - 0.05 * 255)[inner].max() < 2.5, name
    for name in ("a.jpg", "c.webp"):
        before, after = pixels(tmp_path / "in" / name).astype(int), pixels(tmp_path / "out" / name)
        assert abs((before - after).mean() - 0.05 * 255) < 1.5, name
    written = cv2.imread(str(tmp_path / "out/deep.png"), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16
    assert np.abs(deep - written - 0.05 * 65535).max() < 0.01 * 65535

    # other settings, other results: strength 0 is the photo
    outcome = predict("input=in", "output=out", "remover=net.safetensors", "working_size=native", "strength=0")
    assert outcome.status == 0 and "strength 0; 5 of 5" in outcome.err
    np.testing.assert_array_equal(pixels(tmp_path / "out/b.png"), pixels(tmp_path / "in/b.png"))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out/deep.png"), cv2.IMREAD_UNCHANGED), deep)
    refused = predict("input=in", "output=out", "remover=net.safetensors", "strength=200")
    assert refused.status == 1 and "strength=200" in refused.err


def test_fifty_photos_five_of_them_broken(predict: Predict, tmp_path: Path) -> None:
    for number in range(45):
        write_photo(tmp_path / f"in/{number % 3}/{number}.{'png' if number % 2 else 'jpg'}", number, 20, 24)
    words = broken(tmp_path / "in")
    (tmp_path / "in/notes.txt").touch()
    outcome = predict("input=in", "output=out", "remover=identity")
    assert outcome.status == 1
    assert len(results(tmp_path / "out")) == 45
    for name, word in words.items():
        assert re.search(rf"failed: .*{re.escape(name)}.*{word}", outcome.err), name
    (summary,) = (line for line in outcome.err.splitlines() if line.startswith("error: "))
    assert "5 of 50" in summary and all(name in summary for name in words)
    np.testing.assert_array_equal(pixels(tmp_path / "out/1/1.png"), pixels(tmp_path / "in/1/1.png"))

    before = results(tmp_path / "out")
    again = predict("input=in", "output=out", "remover=identity")
    assert again.status == 1 and "5 of 50" in again.err
    assert results(tmp_path / "out") == before

    # what is mended, changed or removed is done; the rest is not touched
    for name in words:
        (tmp_path / "in" / name).unlink()
    write_photo(tmp_path / "in/0/0.jpg", 99, 20, 24)
    (tmp_path / "out/1/1.png").unlink()
    third = predict("input=in", "output=out", "remover=identity")
    assert third.status == 0 and "2 of 45" in third.err, third.err
    after = results(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {"0/0.jpg", "1/1.png"}
    # other settings, other results
    assert "45 of 45" in predict("input=in", "output=out", "remover=yl19").err


@pytest.mark.slow
def test_a_result_of_other_settings_or_of_another_version_is_made_again(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crrn.cli.photos import NEUTRAL, predict_all

    write_photo(tmp_path / "photo.png", 0)
    save_network(CRRN(0.03), tmp_path / "net.safetensors")
    others = {
        "remover": "net.safetensors",
        "working_size": "32",
        "strength": "50",
        "memory": "3",
        "tile": "900",
        "overlap": "400",
        "self_ensemble": "true",
        "precision": "bf16",
        "quality": "80",
    }
    settings = inspect.signature(predict_all).parameters.keys()
    assert settings == {*others, *NEUTRAL}, "a new setting changes results, or stands among the neutral ones"

    def left(*overrides: str) -> str:
        outcome = predict("input=photo.png", "output=out", "remover=identity", *overrides)
        assert outcome.status == 0, outcome.err
        return re.search(r"\d+ of 1\b", outcome.err)[0]  # type: ignore[index]

    assert left() == "1 of 1"
    assert left() == "0 of 1"
    for name, value in others.items():
        assert left(f"{name}={value}") == "1 of 1", name
        assert left() == "1 of 1", name
    assert left("max_megapixels=3", "overwrite=true") == "0 of 1"
    monkeypatch.setattr("crrn.inference.batch.__version__", "999")
    assert left() == "1 of 1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("my photo.jpg",), "use: crrn remove 'my photo.jpg' -o clean\n"),
        (("--input", "photo.jpg", "--output", "x"), "use: crrn remove photo.jpg -o clean\n"),
        (("--input=photo.jpg",), "use: crrn remove photo.jpg -o clean\n"),
        (("input=photo.jpg", "-o", "x"), "use: crrn remove x -o clean\n"),
    ],
)
def test_ordinary_arguments_point_to_the_ordinary_command(
    predict: Predict, arguments: tuple[str, ...], said: str
) -> None:
    outcome = predict(*arguments)
    assert outcome.status == 1 and outcome.err.count("\n") == 1
    assert "input=photo.jpg output=clean" in outcome.err and said in outcome.err


def test_names_meet_neither_inputs_nor_each_other(predict: Predict, tmp_path: Path) -> None:
    for number, name in enumerate(("a.jpg", "a.png", "a_reflection.png")):
        write_photo(tmp_path / "in" / name, number)
    outcome = predict("input=in/*.[jp][pn]g", "output=out", "remover=identity", "reflection=true")
    assert outcome.status == 0, outcome.err
    names = {"a.jpg", "a.png", "a_reflection.png", "a_reflection.jpg", "a_reflection_2.png"}
    assert set(results(tmp_path / "out")) == names | {"a_reflection_reflection.png"}
    np.testing.assert_array_equal(pixels(tmp_path / "out/a_reflection.png"), pixels(tmp_path / "in/a_reflection.png"))
    before = {path: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    refused = predict("input=in", "output=in", "remover=identity")
    assert refused.status == 1 and "output" in refused.err
    assert {path: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before
    # an output folder inside the input holds no inputs
    assert predict("input=in", "output=in/out", "remover=identity").status == 0
    assert "0 of 3" in predict("input=in", "output=in/out", "remover=identity").err


def test_paths_may_hold_anything(predict: Predict, tmp_path: Path) -> None:
    name = "it's my photo (1), [a=b] ${x}.png"
    write_photo(tmp_path / "in it" / name, 0)
    outcome = predict(f"input=in it/{name}", "output=out, there", "remover=identity")
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "out, there" / name).exists()


def test_a_photo_that_cannot_be_written_is_named(predict: Predict, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 9000, 3), np.uint8)).save(tmp_path / "wide.webp")
    write_photo(tmp_path / "other.png", 0)
    outcome = predict("input=*.*", "output=out", "remover=identity", "side_by_side=true")
    assert outcome.status == 1 and re.search(r"1 of 2 .*wide\.webp", outcome.err)
    (line,) = (line for line in outcome.err.splitlines() if line.startswith("failed: "))
    assert re.search("wide.webp: .*2x18000.*WEBP", line)
    assert {"other.png", "other_side_by_side.png"} <= set(results(tmp_path / "out"))


def test_files_of_others_are_not_overwritten(predict: Predict, tmp_path: Path) -> None:
    write_photo(tmp_path / "photo.png", 0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/photo.png").write_text("precious")
    outcome = predict("input=photo.png", "output=out", "remover=identity")
    assert outcome.status == 1 and "overwrite=true" in outcome.err
    assert (tmp_path / "out/photo.png").read_text() == "precious"
    assert predict("input=photo.png", "output=out", "remover=identity", "overwrite=true").status == 0
    np.testing.assert_array_equal(pixels(tmp_path / "out/photo.png"), pixels(tmp_path / "photo.png"))


def killed_before(event: int, arguments: list[str], folder: Path) -> int:
    """Runs the command in a forked process that dies by SIGKILL before its n-th change to a file in ``folder``; gives
    its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 on forks: the child runs in one thread
        child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            seen = 0

            def hook(name: str, values: tuple[Any, ...]) -> None:
                nonlocal seen
                writes = name == "open" and isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR)
                if (writes or name in ("os.rename", "os.remove")) and str(folder) in str(values[0]):
                    if seen == event:
                        os.kill(os.getpid(), signal.SIGKILL)
                    seen += 1

            sys.addaudithook(hook)
            sys.argv = ["crrn-predict", *arguments]
            from crrn.cli.predict import main

            main()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
def test_killed_at_any_moment_no_file_is_half_written(predict: Predict, tmp_path: Path) -> None:
    for number in range(4):
        write_photo(tmp_path / f"in/{number}.png", number, 100, 120)
    output = tmp_path / "out"
    arguments = ["device=cpu", f"input={tmp_path / 'in'}", f"output={output}", "remover=identity", "reflection=true"]
    kills = 0
    for event in (0, 1, 2, 3, 4, 5, 6, 7, 5, 9, 3, 2, 99):
        status = killed_before(event, arguments, output)
        kills += status == -signal.SIGKILL
        for path in output.rglob("*.png"):
            if not path.name.startswith("."):
                expected = pixels(tmp_path / "in" / path.name) if "_" not in path.name else 0
                np.testing.assert_array_equal(pixels(path), np.broadcast_to(expected, pixels(path).shape))
    assert kills >= 8 and status == 0
    assert len(results(output)) == 8, "nothing is missing and nothing is left over"
    assert "0 of 4" in predict(*arguments).err


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_hostile_checkpoints_run_nothing(predict: Predict, tmp_path: Path) -> None:
    write_photo(tmp_path / "photo.png", 0)
    sprung = tmp_path / "sprung"
    torch.save({"state_dict": {"net.x": Trap(sprung)}, "crrn": {"net": {}}}, tmp_path / "zip.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Trap(sprung)))
    (tmp_path / "named.safetensors").write_bytes(pickle.dumps(Trap(sprung)))
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    for name in ("zip.ckpt", "plain.ckpt", "named.safetensors", "text.ckpt", "missing.ckpt"):
        outcome = predict("input=photo.png", "output=out", f"remover={name}")
        assert outcome.status == 1 and not sprung.exists()
        (line,) = (line for line in outcome.err.splitlines() if line.startswith("error: "))
        assert name in line and "Traceback" not in outcome.err and "Warning" not in outcome.err
    assert not (tmp_path / "out").exists()
    pickle.loads((tmp_path / "plain.ckpt").read_bytes())
    assert sprung.exists(), "the trap is one"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "output"),
        (["output=out", "input=nothing"], "nothing"),
        (["output=out", "input=photo.png", "remover=nobody"], "nobody"),
        (["output=out", "input=photo.png", "quality=0"], "quality=0"),
        (["output=photo.png", "input=photo.png"], "photo.png"),
        (["output=out", "input=photo.png", "max_megapixels=0.001"], "max_megapixels"),
        (["output=out", "input=photo.png", "+colour=1"], "colour"),
        (["output=out", "input=photo.png", "memory=much"], "memory=much"),
    ],
)
def test_mistakes_are_one_sentence(predict: Predict, tmp_path: Path, overrides: list[str], words: str) -> None:
    write_photo(tmp_path / "photo.png", 0)
    outcome = predict(*overrides)
    assert outcome.status == 1 and "Traceback" not in outcome.err
    assert words in outcome.err


@pytest.mark.parametrize("argument", ["--help", "self_ensembel=true"])
def test_help_and_mistakes_answer_without_torch(tmp_path: Path, argument: str) -> None:
    script = "import sys\nfrom crrn.cli.predict import main\ntry:\n main()\nfinally:\n print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, "input=a", "output=b", argument],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "False", done.stdout + done.stderr
    assert (done.returncode == 0) == (argument == "--help") and "Traceback" not in done.stderr


def test_a_video_is_written_whole_or_not(predict: Predict, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from tests.unit.inference.test_video import clip

    clip(tmp_path / "clip.mp4")
    outcome = predict("input=clip.mp4", "output=out", "remover=identity")
    assert outcome.status == 0 and "frames: 10/10" in outcome.err, outcome.err
    assert "0 of 1" in predict("input=clip.mp4", "output=out", "remover=identity").err
    content = (tmp_path / "clip.mp4").read_bytes()
    (tmp_path / "torn.mp4").write_bytes(content[: len(content) // 2])
    outcome = predict("input=torn.mp4", "output=out", "remover=identity")
    assert outcome.status == 1 and "torn.mp4" in outcome.err
    assert list(results(tmp_path / "out")) == ["clip.mp4"]
