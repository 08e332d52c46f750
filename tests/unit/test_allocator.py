"""Freed memory is kept: counted by the system's page faults, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from crrn.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
def work():
    blocks = [np.full(16 << 20, 1, np.uint8) for _ in range(8)]  # 128 MB, all given back when the function ends
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="concerns glibc")
def test_memory_that_was_freed_costs_no_page_faults():
    def faults(how: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=False)

    kept = faults("keep")
    if kept.returncode == 3:
        pytest.skip("the C library is not glibc")
    assert 10 * int(kept.stdout) < int(faults("give back").stdout)
