import csv
from pathlib import Path

from crrn.cli.sweeps import record_job


def test_the_table_has_a_row_for_each_job_whatever_its_error_says(tmp_path: Path):
    record_job(tmp_path / "a", tmp_path, 0, ["seed=1", "pruning.trial=7"], "done", 61.0, {"val/background_ssim": 0.5})
    # a resumed sweep looks at it again
    record_job(tmp_path / "a", tmp_path, 0, ["seed=1", "pruning.trial=7"], "done", 1.0, {"val/background_ssim": 0.5})
    record_job(tmp_path / "b", tmp_path, 1, ["+seed=2"], "failed", 3.0, {}, "sizes differ:\n  2 | 3\n")
    lines = (tmp_path / "sweep.md").read_text().splitlines()
    assert lines[2:] == [
        "| job | status | seed | background_ssim | minutes | error |",
        "|---|---|---|---|---|---|",
        "| 0 | done | 1 | 0.5000 | 1.0 |  |",
        "| 1 | failed | 2 |  | 0.1 | sizes differ: 2 \\| 3 |",
    ]
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["folder"], row["error"]) for row in rows] == [
        ("1", "a", ""),
        ("2", "b", "sizes differ:\n  2 | 3\n"),
    ]
