"""What a long command says where there is no terminal."""

import pytest

from crrn.cli.progress import ProgressDisplay


def test_each_part_says_once_that_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as progress:
        for done in (0, 1, 2, 2, 2):  # megabytes of an archive: several members end in the last one
            progress("archive (MB)", done, 2)
        for _ in range(3):
            progress("small archive (MB)", 0, 0)
        progress("frames", 1, 1)
        progress("frames", 0, 1)  # the next video
        progress("frames", 1, 1)
    said = [line.partition(",")[0] for line in capsys.readouterr().err.split("\n") if line]
    assert said[0] == "archive (MB): 0/2"
    assert said[1:] == ["archive (MB): 2/2", "small archive (MB): 0/0", "frames: 1/1", "frames: 1/1"]
