"""``crrn``: one command for all that crrn does. torch and Hydra are imported only by the commands that need them."""

from __future__ import annotations

import runpy
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from crrn.errors import CrrnError

HYDRA = {
    "train": "Train a network on your photos",
    "eval": "Evaluate models on benchmarks",
    "report": "Make a report of evaluations and runs",
    "predict": "Like remove, with all settings as KEY=VALUE",
    "prepare": "Check benchmarks, make reflection sets, align real pairs",
    "export": "Export a network: ONNX, torch.export, safetensors",
    "demo": "Open a page in the browser",
}
"""The commands whose arguments are Hydra's KEY=VALUE."""

app = typer.Typer(
    name="crrn",
    help="Remove reflections from photos that were taken through glass.",
    epilog="COMMAND --help says more. Settings of train and the commands below it are KEY=VALUE.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The command. Exits with status 1 if it failed, 2 if it was called wrongly."""
    _refuse_bare_photo(sys.argv[1:])
    try:
        app(prog_name="crrn")
    except CrrnError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _names(incomplete: str) -> list[tuple[str, str]]:
    """The models that the shell completes, each with its description."""
    from crrn.catalogue import models

    return [(one.name, one.about) for one in models() if one.name.startswith(incomplete)]


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """The options before a command."""
    if version:
        import crrn

        print(f"crrn {crrn.__version__}")
        raise typer.Exit


@app.command()
def remove(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO", help="Photos, videos, folders, quoted patterns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("clean"),
    strength: Annotated[
        float | None, typer.Option("--strength", "-s", help="0 is the photo, 100 the estimate, up to 150.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A name of `crrn models`, or a run or weights file.", autocompletion=_names),
    ] = None,
    reflection: Annotated[bool, typer.Option("--reflection", help="Also write NAME_reflection.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Also write NAME_side_by_side.")] = False,
    working_size: Annotated[
        str, typer.Option("--working-size", metavar="N", help="Short side in pixels that the model sees, or native.")
    ] = "auto",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of other programs.")] = False,
    plugins: Annotated[
        list[str] | None, typer.Option("--plugins", metavar="PACKAGE", help="Also load networks of this package.")
    ] = None,
) -> None:
    """Remove the reflections from photos and videos.

    Example: crrn remove photo.jpg holidays/ -o clean --compare

    The same command again does only what is left.
    """
    from crrn.cli.photos import predict_all
    from crrn.cli.stop import stoppable
    from crrn.plugins import allow

    allow(plugins or [])

    with stoppable("the same command goes on with what is left"):
        predict_all(
            photos,
            output=str(output),
            remover=model,
            working_size=int(working_size) if working_size.isdigit() else working_size,
            strength=strength,
            reflection=reflection,
            side_by_side=compare,
            device=device,
            overwrite=overwrite,
        )


@app.command("models")
def list_models() -> None:
    """List the models that there are."""
    from crrn.catalogue import models

    for one in models():
        size = f"{one.megabytes:.1f} MB" if one.megabytes else ""
        print(f"{one.name + ('*' if one.default else ''):12} {size:>8}  {one.about}")
    print("* is used where none is named.")


def _add(name: str, about: str) -> None:
    """Adds a command that passes its arguments to Hydra."""

    def run(context: typer.Context) -> None:
        sys.argv[1:] = context.args
        # As `python -m` does it, so that Lightning can start the processes for further GPUs by the same name.
        runpy.run_module(f"crrn.cli.{name}", run_name="__main__", alter_sys=True)

    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(name, help=f"{about}.", context_settings=settings, add_help_option=False)(run)


for _name, _about in HYDRA.items():
    _add(_name, _about)


def _refuse_bare_photo(arguments: list[str]) -> None:
    """``crrn photo.jpg`` ends with the command that was meant, whether or not there is such a file."""
    first = arguments[0] if arguments else "-"
    known = {command.name for command in app.registered_commands} | {"remove"}
    if not first.startswith("-") and first not in known and (Path(first).exists() or set(first) & set("./\\*")):
        print(
            f"error: {first} is not a command. To remove its reflections: crrn remove {shlex.quote(first)}",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
