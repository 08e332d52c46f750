import threading
from typing import Any

import lightning.pytorch as L
import pytest
import torch

from crrn.training.background import Background, Reading, background


def test_work_is_done_in_order_in_another_thread_and_finished_before_the_end():
    work, done, gate = Background(), [], threading.Event()
    work.submit(gate.wait)
    for number in range(5):
        work.submit(lambda number=number: done.append((number, threading.current_thread())))
    assert done == []
    gate.set()
    work.finish()
    assert [number for number, _ in done] == list(range(5))
    assert threading.main_thread() not in {thread for _, thread in done}
    work.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("background")]


def test_what_fails_comes_up_and_nothing_is_done_after_it():
    work, done, gate = Background(), [], threading.Event()

    def fail() -> None:
        gate.wait()
        raise OSError("the disk is full")

    work.submit(fail)
    work.submit(lambda: done.append(1))
    gate.set()
    with pytest.raises(OSError, match="the disk is full"):
        work.finish()
    assert done == []
    work.close()


def test_a_failure_behind_an_exception_is_a_note_on_it():
    work: Any = Background()

    def fail() -> None:
        raise OSError("the disk is full")

    work.submit(fail)
    error = ValueError("first")
    work.on_exception(None, None, error)
    assert error.__notes__ == ["Then, in the background: the disk is full"]
    work.close()


def test_a_trainer_without_it_does_the_work_at_once():
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    done: list[int] = []
    background(L.Trainer(accelerator="cpu", **quiet))(lambda: done.append(1))
    assert done == [1]
    work = Background()
    assert background(L.Trainer(accelerator="cpu", callbacks=[work], **quiet)) == work.submit


def test_a_reading_keeps_what_was_there():
    value = torch.arange(3.0)
    state = {"weights": value, "rest": [1, "text", (value, None)]}
    taken = Reading(state)
    value += 10
    state["rest"].append(2)  # type: ignore[attr-defined]
    read = taken.get()
    assert read["weights"].tolist() == [0, 1, 2]
    assert read["rest"][:2] == [1, "text"] and read["rest"][2][0].tolist() == [0, 1, 2] and len(read["rest"]) == 3
