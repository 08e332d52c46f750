"""Processes that share one work: who does what, and how the first one waits for the others."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from torch.distributed import HashStore

from crrn.errors import ConfigError, RunError
from crrn.evaluation.store import ImageScores, Row
from crrn.ranks import Ranks


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_shares_are_each_piece_once(world: int) -> None:
    items = list(range(13))
    shares = [Ranks(rank, world).share(items) for rank in range(world)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_environment_names_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    alone = Ranks.from_environment()
    assert (alone.rank, alone.world, alone.first, alone.together) == (0, 1, True, False)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    task = Ranks.from_environment()
    assert (task.rank, task.world, task.first, task.together) == (2, 4, False, False)
    assert task.finish({"own": 1}) == [{"own": 1}]
    for rank, world in (("4", "4"), ("-1", "4"), ("1", ""), ("", "2"), ("one", "2")):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", world)
        with pytest.raises(ConfigError, match="RANK"):
            Ranks.from_environment()


def test_the_first_waits_for_the_reports_of_all() -> None:
    store = HashStore()
    workers = [Ranks(rank, 3, store) for rank in range(3)]

    def later() -> None:
        for rank in (2, 1):
            time.sleep(0.3)
            workers[rank].tell()
            assert workers[rank].finish({"rank": rank}) is None

    thread = threading.Thread(target=later)
    thread.start()
    assert workers[0].finish({"rank": 0}) == [{"rank": 0}, {"rank": 1}, {"rank": 2}]
    thread.join()


def test_a_dead_process_is_given_up_and_a_slow_one_is_not() -> None:
    store = HashStore()
    first, slow = Ranks(0, 3, store, patience=1.0), Ranks(1, 3, store)
    began = time.monotonic()

    def work() -> None:
        for _ in range(5):
            slow._told = 0.0
            slow.tell()
            time.sleep(0.5)
        slow.finish("done")

    thread = threading.Thread(target=work)
    thread.start()
    with pytest.raises(RunError, match=r"processes 2 nothing was heard"):
        first.finish("done")
    thread.join()
    assert time.monotonic() - began > 2.5, "it waited as long as one lived"


def test_rows_of_several_processes_are_read_together_and_merged(tmp_path: Path) -> None:
    path = tmp_path / "method.csv"
    ImageScores(path, ["psnr"]).add(Row("b", "s", problem="torn"))
    ImageScores(path, ["psnr"], 1).add(Row("b", "s", values={"psnr": 2.0}))
    ImageScores(path, ["psnr"], 3).add(Row("a", "s", values={"psnr": 1.0}))
    ImageScores(tmp_path / "method.csv.4.csv", ["psnr"]).add(Row("z", "s", values={"psnr": 9.0}))  # another method
    with (tmp_path / "method.csv.3").open("a") as file:
        file.write("c,s,,,1,1,0.1,7")  # torn by a kill
    cell = ImageScores(path, ["psnr"], 2)
    assert cell.done == {"a", "b"}
    cell.add(Row("c", "s", values={"psnr": 3.0}))
    ImageScores(path, ["psnr"]).merge(["a", "b", "c"])
    rows = list(ImageScores(path, ["psnr"]).rows())
    assert [(row.image, row.values["psnr"], row.problem) for row in rows] == [
        ("a", 1.0, ""),
        ("b", 2.0, ""),
        ("c", 3.0, ""),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["method.csv", "method.csv.4.csv"]
