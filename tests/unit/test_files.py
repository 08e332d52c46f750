from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from crrn.files import BoundedFile


def test_a_bounded_file_reads_as_a_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    with BoundedFile(path) as bounded, path.open("rb") as plain:
        for size in (10, 0, 1 << 40, 5):
            assert bounded.read(size) == plain.read(min(size, 1000))
        bounded.seek(7), plain.seek(7)
        assert bounded.read() == plain.read()
        bounded.seek(500)
        assert bounded.read(3) == b""


def test_a_png_that_claims_gigabytes_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(path)
    content = path.read_bytes()
    length = content.index(b"IDAT") - 4
    path.write_bytes(content[:length] + struct.pack(">I", (1 << 32) - 1) + content[length + 4 :])
    script = (
        "import resource, sys, pathlib\n"
        "from crrn.data.photos import read_image\n"
        "from crrn.inference.photo import read_photo\n"
        "used = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "print(read_image(path).shape, read_photo(path).pixels.shape)\n"
    )
    said = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert said.stdout.strip() == "(40, 50, 3) (40, 50, 3)", said.stderr
