"""How many photos a second do one process and several make on this machine? Writes a page with a table.

    python experiments/throughput/measure.py --output experiments/throughput/README.md
    python experiments/throughput/measure.py --photos 8 --processes 1 2 4 --model yl19

Without options: 24 photos of 12 megapixels, one process and two; the page is printed. The photos are made on the spot.
Each process computes on one thread. The same command does one photo first, so that programs and files are in the
system's memory, and so that the time of the start is known.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import crrn
from crrn.bench.machine import processor


def make_photos(folder: Path, count: int, height: int, width: int) -> None:
    """JPEG files with detail at all scales, no two alike."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = np.zeros((height, width, 3), np.float32)
        for scale in (64, 16, 4, 1):
            size = (height // scale + 1, width // scale + 1, 3)
            layer = rng.integers(0, 256, size, dtype=np.uint8)
            enlarged = Image.fromarray(layer).resize((width, height), Image.Resampling.BILINEAR)
            photo += np.asarray(enlarged, np.float32) * (0.6 if scale == 64 else 0.13)
        Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=92)


def timed(processes: int, photos: Path, output: Path, model: str | None) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one run."""
    module = ["-m", "crrn.cli.predict", f"input={photos}", f"output={output}", "device=cpu"]
    module += [f"remover={model}"] if model else []
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *launcher, *module],
        check=True,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--size", default="3000x4000", help="height x width in pixels")
    parser.add_argument("--model", help="as of remover=; default: the network that ships")
    parser.add_argument("--output", type=argparse.FileType("w"), help="the page; default: the screen")
    given = parser.parse_args()
    height, width = map(int, given.size.split("x"))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(folder / "photos", given.photos, height, width)
        (folder / "one").mkdir()
        (folder / "one/0.jpg").write_bytes((folder / "photos/0.jpg").read_bytes())
        for processes in given.processes:
            start, start_cpu = timed(processes, folder / "one", folder / f"one-{processes}", given.model)
            seconds, cpu = timed(processes, folder / "photos", folder / f"out-{processes}", given.model)
            rows.append((processes, seconds, cpu, (seconds - start) / (given.photos - processes), start_cpu))
    print(page(rows, given.photos, given.size, given.model), end="", file=given.output or sys.stdout)


def page(rows: list[tuple[int, float, float, float, float]], photos: int, size: str, model: str | None) -> str:
    """The measurement in Markdown.

    Args:
        rows: processes, wall-clock and CPU seconds of all photos, the seconds of a photo without the start, and the CPU
            seconds of the run on one photo.
        photos, size, model: of what.
    """
    used = model or next(model.name for model in crrn.models() if model.default)
    own = [(cpu - start_cpu) / (photos - 1) for _, _, cpu, _, start_cpu in rows]
    what = (
        f"{photos} JPEG photos of {size} pixels, model {used} with its own settings, one thread for each process. crrn "
        f"{crrn.__version__}, {processor()}, {os.cpu_count()} cores. The load average at the end was "
        f"{os.getloadavg()[0]:.1f}. Where it is above the number of processes, other programs took part of the "
        "machine, and only the CPU seconds tell of crrn."
    )
    lines = [
        "# Throughput of `src.predict`",
        "",
        "```sh",
        shlex.join(["python", "experiments/throughput/measure.py", *sys.argv[1:]]),
        "```",
        "",
        what,
        "",
        "| Processes | Seconds | Photos/s | Photos/s without the start | CPU seconds for each photo | Speed-up |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for (processes, seconds, _, each, _), cpu_seconds in zip(rows, own, strict=True):
        lines.append(
            f"| {processes} | {seconds:.1f} | {photos / seconds:.2f} | {1 / each:.2f} | {cpu_seconds:.2f} | "
            f"{rows[0][1] / seconds:.2f} |"
        )
    hours = own[-1] * 1e6 / 3600
    needed = (
        f"A million such photos take {hours:.0f} core hours: {hours / 64 * 60:.0f} minutes on 64 cores like these, if "
        "the disk gives and takes the files as fast."
    )
    lines += ["", needed, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
