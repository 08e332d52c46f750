"""``crrn export checkpoint=PATH``: writes a trained network for other programs, with a model card."""

from __future__ import annotations

import logging
from pathlib import Path

from crrn.catalogue import METHODS, default_model
from crrn.cli.command import run
from crrn.errors import ConfigError


def main() -> None:
    """The command. Exits with status 1 if it failed."""
    run("export", export, ("checkpoint", "output"))


def export(
    *,
    checkpoint: str | None,
    format: str,
    output: str | None,
    precision: str,
    license: str | None,
    push: str | None,
    private: bool,
) -> None:
    """Exports a network and writes its card; the parameters are the keys of ``conf/export.yaml``."""
    if not checkpoint and default_model() not in METHODS:
        checkpoint = default_model()
    if not checkpoint:
        raise ConfigError("Give the trained network: checkpoint=runs/NAME, or a .safetensors or .ckpt file.")
    if push is not None and push.count("/") != 1:
        raise ConfigError(f"push={push} is not a name on the hub: give OWNER/NAME.")

    import crrn
    from crrn.files import write_atomically
    from crrn.inference.export import SUFFIXES, check_format, export_network
    from crrn.inference.hub import CONFIG, push_to_hub, require_client, write_config
    from crrn.inference.model_card import card_place, files_of, write_card
    from crrn.nets import load_network
    from crrn.removers import checkpoint_path, is_untrained, remover_digest, remover_label

    check_format(format, precision)
    if is_untrained(checkpoint):
        raise ConfigError(f"{checkpoint} is a method without weights to export: give a trained network.")
    source = checkpoint_path(checkpoint)
    title = remover_label(checkpoint)
    path = output_path(output or str(Path("exports") / title), SUFFIXES[format])
    if path.exists() and path.samefile(source):
        raise ConfigError(f"output={path} is the checkpoint itself: give another place.")
    card = card_place(path.parent)
    if push:
        require_client()

    for library in ("onnx_ir", "onnxscript", "httpx"):
        logging.getLogger(library).setLevel(logging.WARNING)
    network = load_network(source)
    differences = export_network(network, path, format, precision)
    digest = remover_digest(str(source))
    files = {**files_of(card, digest), path.name: differences}
    text = write_card(network, source, files, license, title, crrn.__version__, digest)
    with write_atomically(card, "w") as file:
        file.write(text)
    write_config(network, path.parent)
    worst = max(differences, key=lambda size: differences[size])
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    print(f"Compared with the network at {', '.join(differences)}: it differs by {differences[worst]:.1e} at most.")
    print(f"Model card: {card}")
    if push:
        print(f"Hub: {push_to_hub(path.parent, [*files, card.name, CONFIG], push, private)}")


def output_path(output: str, suffix: str) -> Path:
    """The file that ``output`` means: itself, or model.SUFFIX in the folder that it names.

    Raises:
        ConfigError: it ends like a file of another format.
    """
    path = Path(output)
    if path.suffix == suffix:
        return path
    if path.suffix in (".onnx", ".pt2", ".pt", ".pth", ".ckpt", ".safetensors"):
        raise ConfigError(f"output={output} does not fit the format, whose files end in {suffix}.")
    return path / f"model{suffix}"


if __name__ == "__main__":
    main()
