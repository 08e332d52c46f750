"""What a class or function takes, read from its source: importing torch to find a mistyped key would take seconds."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def parameters_in_source(target: str) -> list[str] | None:
    """The names of the parameters of ``package.module.Name``; None where the source does not tell, or where anything
    is taken. Imports of the name from elsewhere are followed; nothing is imported.
    """
    module, _, name = target.rpartition(".")
    path = source_of(module)
    if path is None:
        return None
    body = ast.parse(path.read_text(encoding="utf-8")).body
    conditional = [inner for node in body if isinstance(node, ast.If) for inner in node.body]  # if TYPE_CHECKING: ...
    for node in [*body, *conditional]:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return names_of(node.args)
        if isinstance(node, ast.ClassDef) and node.name == name:
            return parameters_of_class(node)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module and not node.level:
                    return parameters_in_source(f"{node.module}.{alias.name}")
    return None


def source_of(module: str) -> Path | None:
    """A module's file; of packages, only the outermost is looked up, which imports nothing."""
    package, *inner = module.split(".")
    spec = find_spec(package) if package else None
    if spec is None or not spec.submodule_search_locations:
        return None
    # Of a namespace package, such as hydra_plugins, there may be several.
    bases = [Path(location, *inner) for location in spec.submodule_search_locations]
    paths = (path for base in bases for path in (base.with_suffix(".py"), base / "__init__.py"))
    return next((path for path in paths if path.is_file()), None)


def parameters_of_class(node: ast.ClassDef) -> list[str] | None:
    """Those of its constructor, or a dataclass's fields."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            names = names_of(inner.args)
            return names and names[1:]
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list) and not node.bases:
        return [
            field.target.id
            for field in node.body
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        ]
    return None


def names_of(arguments: ast.arguments) -> list[str] | None:
    """The names of a function's parameters; None where it takes ``**kwargs``."""
    if arguments.kwarg:
        return None
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
