import argparse
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from crrn.cli.config import (
    build,
    config_folder,
    describe_completion,
    options,
    quoted,
    run_directory,
    sentence,
    settings_of,
    slug,
)
from crrn.errors import ConfigError

GROUPS = sorted(path for path in config_folder().glob("*/**/*.yaml") if "hydra" not in path.parts[-3:])
"""The options of all groups; what lies in conf/hydra is for Hydra itself."""


def test_the_config_folder_is_found():
    assert (config_folder() / "train.yaml").exists()


def test_the_argparse_of_python_3_14_accepts_hydras_options(monkeypatch: pytest.MonkeyPatch):
    plain: Any = argparse.ArgumentParser.add_argument

    def strict(self: argparse.ArgumentParser, *names: str, **settings: Any) -> argparse.Action:
        """As of Python 3.14, which looks for a % in each help when it is added."""
        assert "%" not in settings.get("help", "")
        return plain(self, *names, **settings)

    monkeypatch.setattr(argparse.ArgumentParser, "add_argument", strict)
    with pytest.raises(TypeError):
        get_args_parser()
    describe_completion()
    parser = get_args_parser()
    assert "Install or uninstall shell completion" in parser.format_help()
    assert parser.parse_args(["--shell-completion", "name=x"]).overrides == ["name=x"]


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: "/".join(path.parts[-2:]))
def test_a_file_of_a_group_is_short_and_says_what_it_is(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 25
    said = sentence(path)
    assert 10 < len(said) <= 82 and not said.endswith((".", ":")), "one line of --help"


def test_the_help_lists_options_with_their_sentences():
    listed = options("optimizer", "schedule").splitlines()
    assert listed[0] == "optimizer=" and "schedule=" in listed
    assert "  constant           The same learning rate throughout" in listed
    assert "$" not in options("stages").replace("$$", "")


def test_a_file_without_a_comment_says_nothing(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("# @package _global_\nname: mine\n# a comment within\n")
    assert sentence(path) == ""
    path.write_text("")
    assert sentence(path) == ""


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (("runs", "a", "none", None), "runs/a"),
        (("runs", "a", "l1_only", "auto"), "runs/a-l1_only"),
        (("runs", "a", "none", "elsewhere/b"), "elsewhere/b"),
        (("runs", "a", "none", "elsewhere/b/joint/last.ckpt"), "elsewhere/b"),
    ],
)
def test_run_directories(arguments: tuple[str, str, str, str | None], folder: str):
    assert run_directory(*arguments) == folder


def test_slugs_are_short_distinct_and_safe():
    assert slug("ablation=l1_only,seed=3") == "ablation=l1_only,seed=3"
    long = ["data.batches.sizes=[" + ",".join(["96x160"] * n) + "]" for n in (40, 41)]
    assert len({slug(text) for text in long}) == 2
    assert all(len(slug(text)) <= 100 and "/" not in slug("a/b" + text) for text in long)


@pytest.mark.parametrize(
    "path",
    [
        "a b",
        "it's",
        'a "b"',
        "[x] (1), a=b",
        "${x}",
        "\\${oc.env:HOME}",
        "\\\\${x}",
        "a\\",
        "a\\'",
        "\\\\'${",
        "a\nb ",
        "日本",
    ],
)
def test_a_path_may_hold_anything(path: str):
    (argument,) = quoted([f"input={path}"], ["input"])
    value = OverridesParser.create().parse_override(argument).value()
    assert OmegaConf.to_container(OmegaConf.create({"input": value}), resolve=True) == {"input": path}


def test_what_is_no_bare_path_is_not_quoted():
    arguments = [
        "input='a b'",
        'input="a"',
        "input=null",
        "input=",
        "input={name: lb14}",
        "other=a b",
        "--help",
        "input",
    ]
    assert quoted(arguments, ["input"]) == arguments


def command(*, seed: int, net: dict, folder: str = ""):
    """Takes two settings."""


def test_settings_are_checked_against_the_command():
    assert settings_of(OmegaConf.create({"seed": 1, "net": {"a": "${seed}"}}), command) == {"seed": 1, "net": {"a": 1}}
    with pytest.raises(ConfigError, match=r"\bsed\b.*\bseed\b"):
        settings_of(OmegaConf.create({"sed": 1}), command)
    with pytest.raises(ConfigError, match="folder"):
        settings_of(OmegaConf.create({"folder": 1}), command)
    with pytest.raises(ConfigError, match=r"net\.path=VALUE"):
        settings_of(OmegaConf.create({"seed": 1, "net": {"path": "???"}}), command)


def test_nodes_map_to_signatures():
    node = {"_target_": "crrn.training.Logging", "panel_images": 2}
    assert build(node, "logging").panel_images == 2
    with pytest.raises(ConfigError, match=r"logging\.pannel_images\b.*\bpanel_images\b"):
        build({**node, "pannel_images": 3}, "logging")
    with pytest.raises(ConfigError, match=r"outer\.inner\.x"):
        build({"inner": {"_target_": "crrn.training.Logging", "x": 1}}, "outer")
    with pytest.raises(ConfigError, match="cannot be imported"):
        build({"_target_": "crrn.nothing"}, "node")
