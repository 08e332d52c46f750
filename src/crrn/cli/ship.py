"""``python -m src.ship``: a trained network into the package, with its card."""

from __future__ import annotations

from pathlib import Path

from crrn.cli.command import run
from crrn.errors import ConfigError


def main() -> None:
    """The command. Exits with status 1 if it failed."""
    run("ship", ship, ("about", "checkpoint", "fails", "folder", "time"))


def ship(
    *,
    name: str,
    checkpoint: str | None,
    about: str | None,
    precision: str,
    working_size: int | None,
    strength: float,
    default: bool | None,
    evaluations: list[str],
    fails: str | None,
    time: str | None,
    folder: str | None,
) -> None:
    """Writes the network's files; the parameters are the keys of ``conf/ship.yaml``."""
    if not isinstance(evaluations, list):
        raise ConfigError(f"evaluations={evaluations} is not a list: give evaluations=[{evaluations}].")
    if checkpoint and not about:
        raise ConfigError('Say in one line what the network is: about="Small and fast; trained on ...".')

    from crrn.catalogue import FOLDER
    from crrn.evaluation.against_identity import figures_of
    from crrn.inference.export import check_format
    from crrn.inference.hub import require_client
    from crrn.inference.ship import read_entry, ship_weights, write_entry
    from crrn.nets import Prediction, load_network
    from crrn.removers import checkpoint_path, remover_digest

    require_client()
    check_format("safetensors", precision)
    place = Path(folder).expanduser() if folder else FOLDER
    if checkpoint:
        source = checkpoint_path(str(checkpoint))
        network, prediction = load_network(source), Prediction(working_size, strength)
        entry = ship_weights(
            network, str(name), place, precision=precision, prediction=prediction, checkpoint=source, time=time
        )
    else:
        entry = read_entry(str(name), place)
    weights = place / entry["file"]
    if evaluations:
        digest = remover_digest(str(weights))
        entry["figures"] = [figure for one in evaluations for figure in figures_of(Path(one), digest)]
    given = {"about": about.rstrip(". ") if about else None, "default": default, "fails": fails}
    entry = {"default": False, **entry, **{key: value for key, value in given.items() if value is not None}}
    card = write_entry(entry, place)
    print(
        f"{weights}: {weights.stat().st_size / 1e6:.1f} MB, {'the default' if entry['default'] else 'not the default'}"
    )
    print(f"Card: {card}")
    if not entry["figures"]:
        print(f"Next: python -m src.eval removers=[{name}] ..., then python -m src.ship name={name} evaluations=[...]")


if __name__ == "__main__":
    main()
