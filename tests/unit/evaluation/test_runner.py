"""What an evaluation keeps in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crrn.data.benchmarks import Case
from crrn.evaluation import runner
from crrn.evaluation.runner import AHEAD, Layered, decoded


def test_only_a_few_cases_are_decoded_ahead_of_the_one_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def reader(case: Case) -> Layered:
        read.append(case.name)
        return Layered(np.zeros((2, 2, 3), np.uint8), None, None, None)

    monkeypatch.setattr(runner, "read_case", reader)
    cases = [Case(str(number), "", Path()) for number in range(50)]
    taken = []
    for case, _ in decoded(cases):
        taken.append(case.name)
        assert len(read) <= len(taken) + AHEAD
    assert taken == [case.name for case in cases] and sorted(read) == sorted(taken)
