"""The documentation: it builds without a warning and without a network, its commands run, its settings exist."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from typer.main import get_command

from crrn.cli.config import config_folder, register_resolvers
from crrn.cli.main import app
from crrn.nets import CRRN, save_network
from crrn.solvers import SOLVERS
from tests.conftest import write_photo
from tests.integration.conftest import ROOT, tiny

PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.stem not in ("index", "architecture"))
TEXTS = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.stem != "architecture"]

TINY = tiny(Path("photos"), "stages.gin.epochs=1", "stages.joint.epochs=2")
PAPER = [*TINY, "logger=none"]

FAST: dict[str, list[str]] = {
    "benchmarks": ["benchmark.sir2.root=SIR2", "strict=false"],
    "clusters": [*PAPER, "trainer.devices=1", "trainer.sync_batchnorm=false"],
    "evaluation": ["data_root=.", "strict=false", "device=cpu", "cases=0"],
    "export": ["format=safetensors"],
    "finetune": [
        *(override for override in TINY if not override.startswith(("data=", "net.", "init", "stages."))),
        *("net.width=0.05", "net.encoder_width=null", "optimizer.freeze=[]", "stages.joint.epochs=1"),
        *("data.validation.pair_scenes=null", "data.batches.sizes=[32x32]", "init={net: small.safetensors}"),
        *("data.sources.pairs=[pairs]", "data.sources.pair_share=0.5"),
    ],
    "loggers": TINY,
    "mixing": TINY,
    "paper": [*PAPER, "dry_run=true"],
    "predict": ["--device=cpu"],
    "questions": ["--device=cpu"],
    "quickstart": ["--device=cpu"],
    "reflection-photos": ["rid=photos/reflection", "output=rid", "screening.min_side=40", "screening.size=48"],
    "report": ["evaluations=[evaluations/evaluated]"],
    "reproducibility": TINY,
    "solvers": ["--device=cpu"],
    "speed": ["suite=[loss]", "toy=true", "repetitions=3", "output=bench"],
    "results": ["benchmark.ceilnet_synthetic.root=ceilnet", "strict=false", "device=cpu", "cases=0"],
    "sweeps": [*TINY, "stages.joint.learning_rate=1e-3,1e-4", "seed=1", "trainer.limit_train_batches=1"],
    "train": [override for override in TINY if override != "data=folders"],
    "validation": TINY,
}
"""What makes the first command of each page a matter of seconds; those left out are named below."""

FLAGS = ("remove", "models")
"""The commands with ordinary flags; the others are Hydra's."""

ELSEWHERE = {
    "webpage": "test_webpage.py starts the page and drives it",
    "extending": "test_plugin.py runs it and everything else on that page",
}
"""Pages whose first command another test runs."""


@pytest.mark.slow
def test_docs_build_without_a_warning_and_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    nowhere = "http://127.0.0.1:9"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "http_proxy": nowhere, "https_proxy": nowhere}
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-d", str(tmp_path / "cache")]
    built = subprocess.run(
        [*command, "docs", str(tmp_path / "site")], cwd=ROOT, env=environment, capture_output=True, text=True
    )

    assert built.returncode == 0, built.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = re.findall(r'<(?:script|img|link)[^>]* (?:src|href)="(https?:)?//', page.read_text())
        assert loaded == [], f"{page.name} loads something from another server"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_starts_with_a_command(page: Path) -> None:
    title, blank, fence, *_ = page.read_text().splitlines()
    assert title.startswith("# ") and blank == "" and fence.startswith("```")
    assert page.stem in {*FAST, *ELSEWHERE}, f"docs/{page.name}: say in this test how its first command runs fast"


@pytest.mark.parametrize(
    "page",
    [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/api").glob("*.md"))],
    ids=lambda page: page.stem,
)
def test_a_page_ends_with_links(page: Path) -> None:
    assert re.findall(r"^## .*$", page.read_text(), flags=re.MULTILINE)[-1] == "## See also"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages' first commands name."""
    place = tmp_path_factory.mktemp("docs")
    write_photo(place / "photo.jpg", 0, 96, 128)
    for n in range(8):
        write_photo(place / f"photos/background/b{n}.jpg", n)
    for n in range(6):
        write_photo(place / f"photos/reflection/r{n}.jpg", 100 + n)
    for n in range(4):
        triplet(place / "pairs", f"shop_window{n}_1.png", n)
        triplet(place / "SIR2/WildSceneDataset/withgt", f"{n}.png", n)
        triplet(place / "real20", f"{n}.png", n)
        for folder, role in (("blended", "input"), ("transmission_layer", "label1"), ("reflection_layer", "label2")):
            (place / "ceilnet").mkdir(exist_ok=True)
            shutil.copy(place / f"real20/{folder}/{n}.png", place / f"ceilnet/{n}-{role}.png")
    torch.manual_seed(0)
    save_network(CRRN(width=0.05), place / "small.safetensors")
    return place


def triplet(root: Path, name: str, seed: int) -> None:
    """A photo with a reflection, and the photo without it."""
    for folder, number in (("transmission_layer", seed), ("reflection_layer", 50 + seed)):
        write_photo(root / folder / name, number, 48, 64)
    layers = (
        np.asarray(Image.open(root / folder / name), float) for folder in ("transmission_layer", "reflection_layer")
    )
    (root / "blended").mkdir(exist_ok=True)
    background, reflection = layers
    Image.fromarray((0.7 * background + 0.3 * reflection).astype(np.uint8)).save(root / "blended" / name)


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs ``crrn NAME ARGUMENTS`` in this process, in that folder."""

    def run(name: str, *arguments: str) -> None:
        monkeypatch.chdir(place)
        monkeypatch.setenv("WANDB_MODE", "offline")
        flags = name in FLAGS
        monkeypatch.setattr(sys, "argv", ["crrn", name, *arguments] if flags else [f"crrn-{name}", *arguments])
        with pytest.raises(SystemExit) as exit_:
            import_module("crrn.cli.main" if flags else f"crrn.cli.{name}").main()
        assert not exit_.value.code, capfd.readouterr().err

    return run


@pytest.fixture
def trained(place: Path, run: Any) -> None:
    """runs/NAME, as commands name it."""
    if not (place / "runs/NAME").exists():
        run("train", "experiment=demo", "name=NAME", *TINY)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(FAST))
def test_first_command(page: str, run: Any, trained: None) -> None:
    name, arguments = first_command(ROOT / f"docs/{page}.md")
    if page == "report":
        run(
            "eval",
            "name=evaluated",
            "removers=[lb14]",
            "benchmark=[real20]",
            "data_root=.",
            "strict=false",
            "device=cpu",
        )
    fast = [*FAST[page], *([f"name={page}"] if name in ("train", "eval", "report") else [])]
    if name in FLAGS:
        run(name, *arguments, *fast, "-o", page)
        return
    replaced = {override.partition("=")[0] for override in fast}
    run(name, *(argument for argument in arguments if argument.partition("=")[0] not in replaced), *fast)


def first_command(page: Path) -> tuple[str, list[str]]:
    """The first command of a page: its name and its arguments."""
    text = page.read_text()
    for words in commands(text[: text.index("```\n", text.index("```") + 3)] + "```\n"):
        return words
    raise AssertionError(f"{page.name} does not start with a command")


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands in the shell blocks of a page."""
    for language, block in re.findall(r"^```(\S*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        if language not in ("", "sh"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() in ("make bench", "make demo"):
                yield line.split()[1], []
            elif found := re.search(r"(?:^ *crrn |-m src\.)(\w+)(.*)", line):
                yield found[1], shlex.split(found[2], comments=True)


CASES = [(text, name, arguments) for text in TEXTS for name, arguments in commands(text.read_text())]


@pytest.mark.parametrize(
    ("text", "name", "arguments"), CASES, ids=[f"{text.stem}-{n}" for n, (text, _, _) in enumerate(CASES)]
)
def test_every_command_is_one(text: Path, name: str, arguments: list[str]) -> None:
    if name in FLAGS:
        command = get_command(app).commands[name]  # type: ignore[attr-defined]
        command.make_context(name, arguments)
        return
    parser = OverridesParser.create()
    overrides = []
    for argument in arguments:
        if argument.startswith("--config-dir="):
            argument = f"hydra.searchpath=[file://{ROOT}/tests/plugin/conf]"
        if argument.startswith("-"):
            continue
        (parsed,) = parser.parse_overrides([argument])
        if parsed.is_sweep_override():
            argument = f"{parsed.input_line.partition('=')[0]}={next(parsed.sweep_string_iterator())}"
        overrides.append(argument)

    composed(name, *overrides)


def composed(name: str, *overrides: str) -> DictConfig:
    """A command's settings, as Hydra puts them together; an unknown one is an error."""
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose(config_name=name, overrides=list(overrides), return_hydra_config=True)


@pytest.fixture(scope="module")
def settings() -> list[DictConfig]:
    """The settings of all commands, with the groups that bring more of them."""
    groups = ["benchmark", "protocol"]
    several = [
        f"{group}=[{','.join(sorted(path.stem for path in (config_folder() / group).glob('*.yaml')))}]"
        for group in groups
    ]
    return [
        composed("train"),
        composed("train", "experiment=photo", "logger=wandb"),
        composed("train", "experiment=ceilnet", "launcher=joblib"),
        composed("train", "sweep=optuna"),
        composed("eval", *several),
        composed("prepare", several[0]),
        composed("bench"),
        *(composed(name) for name in ("predict", "report", "export", "demo", "dashboard")),
    ]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_every_setting_that_is_named_exists(text: Path, settings: list[DictConfig]) -> None:
    options = {name for solver in SOLVERS.values() for name in inspect.signature(solver).parameters}
    prose = re.sub(r"^```.*?^```", "", text.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = [
        word.partition("=")[::2]
        for code in re.findall(r"`([a-z][\w.]*=[^`]*)`", prose)
        for word in re.split(r"\s+(?=[a-z][\w.]*=)", code)
    ]

    assert [f"{key}={value}" for key, value in named if not (known(key, value, settings) or key in options)] == []


def known(key: str, value: str, settings: list[DictConfig]) -> bool:
    """Whether a command takes KEY=VALUE: as an option of a group, if it is a group's, else as a setting."""
    if (group := config_folder() / key).is_dir() and re.fullmatch(r"[a-z]\w*", value):
        return (group / f"{value}.yaml").exists()
    parent, _, name = key.rpartition(".")
    nodes = (OmegaConf.select(each, parent) if parent else each for each in settings)
    return group.is_dir() or any(isinstance(node, DictConfig) and name in node.keys() for node in nodes)  # noqa: SIM118
