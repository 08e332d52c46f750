"""What a run writes and reads back: curves, checkpoints, the run directory."""

import csv
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from crrn.errors import CheckpointError, RunError
from crrn.files import write_atomically
from crrn.training.checkpoints import AtomicCheckpointIO
from crrn.training.curves import CsvCurves
from crrn.training.recovery import go_back, newest_checkpoint
from crrn.training.rundir import RunDirectory


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_curves_go_on_where_the_checkpoint_was_made(tmp_path: Path):
    first = CsvCurves(tmp_path)
    for step in range(1, 6):
        first.log_metrics({"loss": 1 / step}, step)
    first.log_metrics({"val": 0.5}, 3)
    first.save()

    second = CsvCurves(tmp_path)
    second.resume(3)
    second.log_metrics({"loss": 7.0}, 4)
    second.save()
    rows = read(tmp_path / "metrics.csv")
    assert [(row["step"], float(row["loss"])) for row in rows] == [("1", 1.0), ("2", 0.5), ("3", 1 / 3), ("4", 7.0)]
    assert [row["val"] for row in rows] == ["", "", "0.5", ""]


def test_new_rows_are_appended_and_a_changed_row_or_column_writes_the_file_anew(tmp_path: Path):
    curves, path = CsvCurves(tmp_path), tmp_path / "metrics.csv"
    inodes = []
    for step, metrics in ((1, {"a": 1}), (2, {"a": 2}), (3, {"b": 3}), (4, {"a": 4}), (4, {"b": 5}), (5, {"a": 6})):
        curves.log_metrics(metrics, step)
        curves.save()
        curves.sync()
        inodes.append(path.stat().st_ino)
    assert [one != other for one, other in pairwise(inodes)] == [False, True, False, True, False]
    rows = read(path)
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["a"] for row in rows] == ["1.0", "2.0", "", "4.0", "6.0"]
    assert [row["b"] for row in rows] == ["", "", "3.0", "5.0", ""]


@pytest.mark.parametrize("content", [b"step,a\n1,\xff\n", b"a,b\n1,2\n", b"step,a\nx,1\n", b"a,step\n1\n"])
def test_damaged_curves_are_named_and_kept(tmp_path: Path, content: bytes):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(RunError, match="Move it away") as refused:
        CsvCurves(tmp_path).resume(3)
    assert str(refused.value).startswith(f"{path} is damaged") and len(str(refused.value).splitlines()) == 1
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_a_checkpoint_is_named_and_kept(tmp_path: Path):
    torch.save({"step": 1}, tmp_path / "previous.ckpt")
    (tmp_path / "last.ckpt").mkdir()
    with pytest.raises(CheckpointError, match=r"last\.ckpt is a folder"):
        newest_checkpoint(tmp_path)
    assert (tmp_path / "last.ckpt").is_dir()


def test_half_a_row_that_a_killed_process_left_is_dropped(tmp_path: Path):
    curves = CsvCurves(tmp_path)
    for step in range(1, 15):
        curves.log_metrics({"loss": step}, step)
    curves.save()
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text() + "1")  # of step 15
    resumed = CsvCurves(tmp_path)
    resumed.save()  # as Lightning does at the start
    resumed.resume(14)
    resumed.log_metrics({"loss": 15}, 15)
    resumed.save()
    assert [float(row["loss"]) for row in read(path)] == list(range(1, 16))


def test_a_failed_write_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("before")

    def fail_halfway() -> None:
        with write_atomically(path, "w") as file:
            file.write("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_folder_is_a_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="Cannot write"), write_atomically(tmp_path / "file" / "inner", "w") as file:
        file.write("x")


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path):
    assert newest_checkpoint(tmp_path) is None
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"weights": torch.arange(1000.0)}, tmp_path / "previous.ckpt")
    writer.save_checkpoint({"weights": torch.arange(1000.0)}, tmp_path / "last.ckpt")
    assert newest_checkpoint(tmp_path) == tmp_path / "last.ckpt"
    whole = (tmp_path / "last.ckpt").read_bytes()
    for torn in (whole[: len(whole) // 2], whole[:-10], b"", whole.replace(whole[1500:1504], b"\xff\xfe\xfd\xfc", 1)):
        (tmp_path / "last.ckpt").write_bytes(torn)
        assert newest_checkpoint(tmp_path) == tmp_path / "previous.ckpt"
    (tmp_path / "previous.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="resume=PATH"):
        newest_checkpoint(tmp_path)


def test_going_back_makes_the_chosen_checkpoint_the_last_one(tmp_path: Path):
    for number, name in enumerate(("best.ckpt", "last.ckpt")):
        state = {"weights": torch.full((1000,), number), "callbacks": {"Checkpoints": {"best": 1.0}}}
        AtomicCheckpointIO().save_checkpoint(state, tmp_path / name)
    go_back(tmp_path, tmp_path / "best.ckpt")
    assert torch.load(newest_checkpoint(tmp_path), weights_only=True)["weights"][0] == 0
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        go_back(tmp_path, last)


@pytest.mark.slow
def test_a_run_directory_is_never_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    # a start that ended before its first step is no run
    RunDirectory(tmp_path / "run", None, {"seed": 2}, "seed: 2")
    RunDirectory(tmp_path / "run", None, {"seed": 1, "net": {"width": 0.5}}, "seed: 1")
    (tmp_path / "run" / "gin").mkdir()
    (tmp_path / "run" / "gin" / "metrics.csv").touch()
    with pytest.raises(RunError, match="resume=auto"):
        RunDirectory(tmp_path / "run", None, {"seed": 1}, "seed: 1")
    resumed = RunDirectory(tmp_path / "run", "auto", {"seed": 1, "net": {"width": 0.25}}, "seed: 1")
    assert len(resumed.record["sessions"]) == 2
    assert "net.width: 0.5 -> 0.25" in caplog.text
    assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 1"
    # another process is writing it
    script = "import sys, time; from pathlib import Path; from crrn.training.rundir import claim_run\n"
    script += "claim = claim_run(Path(sys.argv[1])); print('claimed', flush=True); time.sleep(600)"
    (tmp_path / "busy").mkdir()
    other = subprocess.Popen([sys.executable, "-c", script, tmp_path / "busy"], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "claimed\n"
    with pytest.raises(RunError, match="busy"):
        RunDirectory(tmp_path / "busy", "auto", {}, "")
    other.kill()
    other.communicate()
    RunDirectory(tmp_path / "busy", "auto", {}, "")
    with pytest.raises(CheckpointError, match="nowhere"):
        RunDirectory(tmp_path / "other", "nowhere", {}, "")
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        RunDirectory(tmp_path / "other", str(tmp_path), {}, "")
