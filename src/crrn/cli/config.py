"""From a composed Hydra config to the objects that it names. Nothing here imports torch."""

from __future__ import annotations

import argparse
import difflib
import hashlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from crrn.errors import ConfigError, CrrnError, kind_of
from crrn.plugins import allow

INSTANTIATE_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_")


A_BENCHMARK = "what gives a crrn.data.benchmarks.Benchmark, as crrn.data.benchmarks.paired_folder does"
"""What an option of the group `benchmark` must be, for messages of `build`."""

REPLACED = {
    "net.encoder_weights": "init={iin.encoder: imagenet}, init={iin.encoder: PATH} or init=null",
    "net.architecture": "net=NAME: crrn, iin, gin, ceilnet, ceilnet_edges or ceilnet_image",
    "net.channels_last": "channels_last",
    "net.compile": "compile",
    "gin_checkpoint": "init={gin: PATH}",
    "optimizer._partial_": "left out: optimizer.algorithm names torch's class",
}
"""Settings of before, and what is written instead."""


def config_folder() -> Path:
    """The folder of the YAML files: inside an installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def run_hydra(config: str, job: Callable[[DictConfig], Any]) -> None:
    """Composes ``conf/CONFIG.yaml`` with the command line, and calls the job with it; in a sweep, each job."""
    if sys.version_info >= (3, 14):
        describe_completion()
    hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config)(job)()


def describe_completion() -> None:
    """Makes Hydra's option ``--shell-completion`` acceptable to the argparse of Python 3.14.

    Hydra 1.3.8 gives this option a help that is not a string, but an object that makes the text when it is printed.
    From Python 3.14 on, argparse reads each help when it is added. Every command of Hydra would end with a ValueError.
    """
    add_argument: Any = argparse.ArgumentParser.add_argument

    def with_text(self: argparse.ArgumentParser, *names: str, **settings: Any) -> argparse.Action:
        if settings.get("help") is not None and not isinstance(settings["help"], str):
            settings["help"] = "Install or uninstall shell completion"
        return add_argument(self, *names, **settings)

    argparse.ArgumentParser.add_argument = with_text  # type: ignore[assignment, method-assign]


def known_stages() -> list[str]:
    """The names of the stages of all ways of training, those of the files in ``conf/stages``."""
    names = {
        str(key)
        for path in (config_folder() / "stages").glob("*.yaml")
        for key, node in OmegaConf.load(path).items()
        if isinstance(node, DictConfig) and "_target_" in node
    }
    return sorted(names)


def register_resolvers() -> None:
    """Makes ``${crrn.run_dir:...}`` and the others below known to OmegaConf."""
    OmegaConf.register_new_resolver("crrn.run_dir", run_directory, replace=True)
    OmegaConf.register_new_resolver("crrn.slug", slug, replace=True)
    OmegaConf.register_new_resolver("crrn.if_writing", if_writing, replace=True)
    OmegaConf.register_new_resolver("crrn.options", options, replace=True)


def run_directory(root: str, name: str, ablation: str, resume: str | None, dry_run: bool = False) -> str:
    """``runs/NAME``, with the ablation's name behind it; the run that ``resume`` names wins. A dry run has none."""
    if dry_run:
        return "."
    if resume not in (None, "", "auto"):
        path = Path(str(resume))
        return str(path.parent.parent if path.suffix == ".ckpt" else path)
    # a name such as 1 or nan reaches this as a number
    return str(Path(root) / (str(name) if ablation == "none" else f"{name}-{ablation}"))


def if_writing(dry_run: bool, value: str, otherwise: str | None) -> str | None:
    """``value`` where Hydra may write its files: in the first process of a run, unless it is a dry run."""
    return otherwise if dry_run or process_rank() > 0 else value


def options(*groups: str) -> str:
    """The options of config groups with a sentence each, for ``--help``; those of ``--config-dir`` too.

    Hydra's own list is of all groups, whatever the command, and has no sentences.
    """
    lines = [line for group in groups for line in [f"{group}=", *_described(group)]]
    return "\n".join(lines).replace("$", "$$")  # Hydra puts the text into a template


def _described(group: str) -> list[str]:
    files: dict[str, Path] = {}
    for folder in _search_path():
        for path in sorted((folder / group).glob("*.yaml")):
            files.setdefault(path.stem, path)
    return [f"  {name:<17}  {sentence(path)}".rstrip() for name, path in sorted(files.items())]


def _search_path() -> list[Path]:
    """The folders of YAML files, this package's own first, then those that the command line adds."""
    folders = [config_folder()]
    if GlobalHydra.instance().is_initialized():
        found = GlobalHydra.instance().config_loader().get_search_path().get_path()
        paths = [each.path.removeprefix("file://") for each in found]
        folders += [Path(path) for path in paths if "://" not in path]
    return list(dict.fromkeys(folders))


def sentence(path: Path) -> str:
    """What a YAML file says of itself: its first comment, if it begins with one."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# @package"):
            return line.removeprefix("#").strip() if line.startswith("#") else ""
    return ""


def process_rank() -> int:
    """This process's number among those of a run on several devices, from what Lightning, torchrun or SLURM set."""
    return int(next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), 0))


def slug(overrides: str) -> str:
    """A folder's name from a job's overrides: readable, and short enough for every file system."""
    readable = re.sub(r"[^A-Za-z0-9=.,_-]+", "_", overrides) or "job"
    if len(readable) <= 100:
        return readable
    return readable[:90] + "-" + hashlib.blake2b(overrides.encode(), digest_size=4).hexdigest()


def quoted(arguments: Sequence[str], names: Sequence[str]) -> list[str]:
    """The arguments, with PATH of each NAME=PATH in Hydra's quotes, for the names given.

    A path may then contain spaces, brackets, commas, =, quotes, backslashes and ${}. Values that are already quoted,
    null and dicts stay as they are.
    """
    result = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in names and value not in ("", "null") and value[0] not in "'\"{":
            value = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # else OmegaConf puts in what it names
            value = re.sub(r"(\\*)'", r"\1\1\\'", value)
            value = re.sub(r"(\\+)\Z", r"\1\1", value)
            argument = f"{name}='{value}'"
        result.append(argument)
    return result


def settings_of(cfg: DictConfig, command: Callable[..., Any]) -> dict[str, Any]:
    """The resolved config as plain values, checked against the parameters of the command that it is for.

    Parameters with a default are no settings. The packages in the setting `plugins` are allowed, see
    :mod:`crrn.plugins`.

    Raises:
        ConfigError: a setting is missing, cannot be resolved, or is unknown.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
        settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    if missing:
        raise ConfigError(f"Give a value to {' and '.join(missing)}, as in {missing[0]}=VALUE.")
    assert isinstance(settings, dict)
    known = [
        name
        for name, parameter in inspect.signature(command).parameters.items()
        if parameter.default is parameter.empty
    ]
    allow(settings.pop("plugins", ()))
    refuse_unknown(settings, known, "", "the command")
    return {str(key): value for key, value in settings.items()}


def check_keys(path: str, node: dict[Any, Any], target: Callable[..., Any]) -> None:
    """Refuses keys that are no parameters of the target: ``+trainer.max_epoch=1`` must not pass silently."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # no function, or one of C: calling it will say what is wrong
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    refuse_unknown(
        node, [parameter.name for parameter in parameters], path, f"{path} ({getattr(target, '__name__', target)})"
    )


def refuse_unknown(node: dict[Any, Any], known: list[str], path: str, taker: str) -> None:
    """Raises a ConfigError for the first key that is not known."""
    for key in node:
        if key not in known and key not in INSTANTIATE_KEYS:
            where = f"{path}.{key}" if path else key
            if where in REPLACED:
                raise ConfigError(f"{where} is now {REPLACED[where]}.")
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"{taker} takes {', '.join(known) or 'none'}."
            raise ConfigError(f"Unknown setting {where}; {hint}")


def refuse_replaced(arguments: Sequence[str]) -> None:
    """Ends the command where an argument names a setting of before: Hydra would only say that there is none."""
    for argument in arguments:
        setting = argument.lstrip("+~").partition("=")[0]
        if setting in REPLACED:
            print(f"error: {setting} is now {REPLACED[setting]}.", file=sys.stderr)
            sys.exit(1)


def build(node: Any, path: str, kind: Any = object, what: str = "") -> Any:
    """Builds what a node and the nodes inside it name by ``_target_``; each node maps one to one to a signature.

    The one place that calls Hydra's ``instantiate``.

    Args:
        node: plain values.
        path: the node's place in the config, for messages.
        kind: the class, or the union of classes, that the result must be of.
        what: that class in words, for messages.

    Raises:
        ConfigError: a target is unknown or gives another kind, a key is none of its parameters, or a value is refused.
    """
    check_targets(node, path)
    try:
        value = instantiate(node, _convert_="all") if isinstance(node, dict) else node
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, CrrnError):
            raise cause from error
        reason = next(iter(str(cause or error).strip().splitlines()), type(cause or error).__name__)
        if isinstance(cause, TypeError) and " missing " in reason:
            reason += "; give it, or `_partial_: true` where crrn calls it with more arguments."
        raise ConfigError(f"{path} ({node.get('_target_', 'a list')}) cannot be made: {reason}") from error
    if not isinstance(value, kind):
        target = node.get("_target_") if isinstance(node, dict) else None
        given = f"{path}._target_={target} gives" if target else f"{path} is"
        raise ConfigError(f"{given} {kind_of(value)}: give {what}.")
    return value


def check_targets(node: Any, path: str) -> None:
    """Checks that each ``_target_`` of a node exists and accepts the keys given to it, before anything is read or
    written.

    Raises:
        ConfigError: a target cannot be imported, or a key is none of its parameters.
    """
    for at, inner in nodes_with_target(node, path):
        try:
            target = get_object(inner["_target_"])
        except Exception as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise ConfigError(
                f"{at}._target_={inner['_target_']} cannot be imported ({reason}): give the full name of a class or a "
                "function, of an installed package or of one that plugins=[PACKAGE] names."
            ) from error
        check_keys(at, inner, target)


def nodes_with_target(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All nodes below ``node`` that name a target, with their places."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from nodes_with_target(value, f"{path}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from nodes_with_target(value, f"{path}[{number}]")
