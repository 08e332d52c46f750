"""The shape of the house: which room may import which, read from the source with ast."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "crrn"
MODULES = sorted(PACKAGE.rglob("*.py"))
PLUGINS = sorted((ROOT / "src" / "hydra_plugins").rglob("*.py"))

# Lower floors first; a room (a module or package right under crrn) imports only itself and rooms on lower floors.
FLOORS = (
    {"allocator", "errors", "layers", "private"},
    {"plugins"},
    {"catalogue", "claims", "files", "image", "provenance", "ranks", "records", "screen"},
    {"mixing"},
    {"data", "metrics", "losses", "nets", "solvers"},
    {"removers"},
    {"training", "inference"},
    {"evaluation"},
    {"bench", "webpage"},  # bench measures all below
    {"cli"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# library -> the only rooms or modules that import it
RESERVED = {
    "gradio": ("crrn.webpage",),
    "hydra": ("crrn.cli",),
    "rich.console": ("crrn.screen", "crrn.cli.progress"),  # one console, which takes names for what they are
    "lightning": ("crrn.training", "crrn.data.datamodule", "crrn.bench", "crrn.cli", "crrn.private"),
    "albumentations": ("crrn.data.augment",),
    "torchvision.models": ("crrn.nets.vgg",),
    "pytorch_lightning": (),  # its name today is lightning.pytorch
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Absolute dotted names that a file imports anywhere, also within functions; `from a import b` gives a and a.b."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def test_there_is_something_to_read():
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_down(path):
    name = module_name(path)
    if name in ("crrn", "crrn.__main__"):
        return  # the lazy front door and `python -m crrn` may point anywhere
    room = name.split(".")[1]
    assert room in FLOOR_OF, f"crrn.{room} is on no floor: give it one in this test and in the design"
    for imported in imports(path):
        if imported.startswith("crrn."):
            other = imported.split(".")[1]
            if other == "__version__":
                continue  # the one thing that the front door itself holds
            assert other in FLOOR_OF, f"{name} imports {imported}: import from the room that defines it"
            assert other == room or FLOOR_OF[other] < FLOOR_OF[room], f"{name} must not import {imported}"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_libraries_stay_in_their_rooms(path):
    name = module_name(path)
    for imported in imports(path):
        for library, rooms in RESERVED.items():
            if within(imported, library):
                assert any(within(name, room) for room in rooms), f"{name} must not import {imported}"


def private_names(tree: ast.AST) -> set[str]:
    """Names like ``_x`` that a file imports, or reads of an object other than ``self``, and does not define itself."""
    own = {"_asdict", "_fields", "_make", "_replace"}  # public: a NamedTuple's
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            used.add(node.attr)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            used |= {part for alias in node.names for part in alias.name.split(".")}
            used |= set((getattr(node, "module", None) or "").split("."))
    return {name for name in used - own if name.startswith("_") and not name.endswith("_")}


@pytest.mark.parametrize("path", [*MODULES, *PLUGINS], ids=module_name)
def test_private_interfaces_stay_in_their_file(path):
    private = private_names(ast.parse(path.read_text(encoding="utf-8")))
    if module_name(path) == "crrn.private":
        assert {"_LPIPS", "_config", "_trial_id"} <= private  # the test sees them
    else:
        assert not private


def test_private_interfaces_were_checked_with_the_releases_that_are_allowed():
    from crrn.private import CHECKED

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    requirements = {r.name: r for r in map(Requirement, declared)}
    pinned = dict(
        re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for library, (lowest, highest) in CHECKED.items():
        assert [Version(s.version) for s in requirements[library].specifier if s.operator == ">="] == [Version(lowest)]
        assert highest == pinned[library]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if tree.body:
        assert ast.get_docstring(tree), f"{path}: the module itself"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list):
                continue  # the function itself says it
            assert ast.get_docstring(node), f"{path}:{node.lineno}: {node.name}"


def test_importing_crrn_is_light():
    heavy = {"torch", "torchvision", "lightning", "hydra", "cv2", "wandb", "albumentations"}
    script = f"import sys, crrn; print(*{heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
