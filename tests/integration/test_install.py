"""The wheel and the sdist: what they hold, and that the wheel alone does what the documentation promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_photo
from tests.integration.conftest import ROOT, inherited
from tests.integration.server import PATIENCE, started

pytestmark = pytest.mark.slow

PRINTS_WHERE = "import crrn, hydra_plugins.crrn_study as study; print(crrn.__file__, study.__file__, sep='\\n')"


def bare() -> dict[str, str]:
    """The environment of this process, without what adds to Python's path."""
    environment = {name: value for name, value in inherited().items() if not name.startswith("PYTHON")}
    return environment | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def python(*arguments: str | Path, folder: Path = ROOT, program: str | Path = sys.executable) -> str:
    """Runs Python, or another program, in a folder; gives what it printed."""
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=bare(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of this checkout, and the wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    python("-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def digests(wheel: Path) -> dict[str, int]:
    """The checksum of each file of a wheel; RECORD lists them all and is left out."""
    with zipfile.ZipFile(wheel) as archive:
        return {one.filename: one.CRC for one in archive.infolist() if not one.filename.endswith("/RECORD")}


def test_the_sdist_holds_all_that_the_wheel_is_built_from(built: tuple[Path, Path], tmp_path: Path) -> None:
    sdist, wheel = built
    python("-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ROOT)
    (direct,) = tmp_path.glob("*.whl")
    assert digests(wheel) == digests(direct)

    names = set(digests(wheel))
    assert {name for name in names if name.startswith("crrn/bench")} == set()
    for folder, target in (("conf", "crrn/conf"), ("src/crrn", "crrn"), ("src/hydra_plugins", "hydra_plugins")):
        for name in tracked(folder):
            if "bench" not in name.split("/") and not name.endswith("cli/bench.py"):
                assert f"{target}/{name}" in names
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt"} <= held
    assert "tests/integration/test_install.py" in held and not any(name.startswith("experiments") for name in held)


def test_a_container_installs_the_same_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    """What the Dockerfile copies suffices; the container itself is not built here."""
    instructions = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text()).splitlines()
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [line.split()[1:] for line in instructions if line.startswith("COPY ") and "--from" not in line]
    assert {source for *sources, _ in copied for source in sources} == allowed
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for *sources, target in copied:
        for source in sources:
            place = tmp_path / target.lstrip("/")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=ignored)
            else:
                place.mkdir(exist_ok=True)
                shutil.copy(ROOT / source, place)
    python("-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path / "dist", tmp_path / "src")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert digests(wheel) == digests(built[1])

    users = [line.split()[1] for line in instructions if line.startswith("USER ")]
    assert users == ["crrn"] and instructions.index("USER crrn") > instructions.index("FROM ${BASE}")
    assert 'ENTRYPOINT ["crrn", "remove"]' in instructions


def tracked(folder: str) -> list[str]:
    """The files of a folder that Git has, relative to it."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT / folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the path of a program of an environment that has the wheel; its other packages are those of this one."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=os.name != "nt")
    programs = Path(sysconfig.get_path("scripts", "venv", {"base": str(place)}))
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(place)}))
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others))
    python("-m", "pip", "--python", programs / "python", "install", "-q", "--no-deps", "--no-index", built[1])
    files = python("-c", PRINTS_WHERE, folder=place, program=programs / "python").split()
    assert all(Path(file).is_relative_to(packages) for file in files)  # the checkout is not in reach
    return lambda name: programs / name


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo in a folder of its own."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    write_photo(path, 1, 96, 128)
    return path


def test_photos_by_command_and_in_python(installed: Callable[[str], Path], photo: Path, tmp_path: Path) -> None:
    python("remove", photo, "-o", "clean", folder=tmp_path, program=installed("crrn"))
    script = f"import crrn; crrn.remove({str(photo)!r}).save('two_lines.png')"
    python("-c", script, folder=tmp_path, program=installed("python"))

    with Image.open(tmp_path / "two_lines.png") as image, Image.open(photo) as given:
        in_python, before = np.asarray(image, float), np.asarray(given, float)
    with Image.open(tmp_path / "clean/photo.jpg") as image:
        by_command = np.asarray(image, float)
    assert in_python.shape == by_command.shape == before.shape
    assert np.abs(in_python - before).mean() > 0.5  # something was removed
    assert np.abs(in_python - by_command).mean() < 2  # but for JPEG


def test_a_short_training(installed: Callable[[str], Path], photo: Path, tmp_path: Path) -> None:
    short = ["width=0.05", "stages.gin.epochs=1", "stages.joint.epochs=1", "data.batches.samples_per_epoch=4"]
    short += ["data.batches.sizes=[32x48]", "data.validation.mixtures=2", "data.validation.size=32x48"]
    python("train", "experiment=demo", "trainer.accelerator=cpu", *short, folder=tmp_path, program=installed("crrn"))
    assert (tmp_path / "runs/demo/summary.md").is_file()
    python("remove", photo, "--model", "runs/demo", folder=tmp_path, program=installed("crrn"))
    assert (tmp_path / "clean/photo.jpg").is_file()


def test_the_page(installed: Callable[[str], Path], photo: Path, tmp_path: Path) -> None:
    client = pytest.importorskip("gradio_client", reason="the extra `web` is not installed")
    command = (str(installed("crrn")), "demo")
    with started(tmp_path, "removers=[crrn-small]", command=command, environment=bare()) as demo:
        page = client.Client(
            demo.address,
            verbose=False,
            download_files=str(tmp_path),
            analytics_enabled=False,
            httpx_kwargs={"timeout": PATIENCE},
        )
        try:
            *_, note = page.predict(client.handle_file(photo), "crrn-small", 60, api_name="/remove")
        finally:
            page.close()
    assert note.startswith("128 × 96 pixels, crrn-small, ")
