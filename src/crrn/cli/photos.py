"""Removing reflections from many photos and videos: the shared part of ``crrn remove`` and ``crrn predict``.

torch is imported only after the settings are checked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crrn.errors import ConfigError, DataError

if TYPE_CHECKING:
    from crrn.inference.batch import Job, Record
    from crrn.inference.predictor import Predictor
    from crrn.ranks import Ranks

NEUTRAL = frozenset({"inputs", "output", "reflection", "side_by_side", "device", "max_megapixels", "overwrite"})
"""Settings that do not change a result. After a change of any other setting, results are made again."""


def predict_all(
    inputs: Sequence[str],
    *,
    output: str,
    remover: Any = None,
    working_size: int | str | None = "auto",
    strength: float | None = None,
    reflection: bool = False,
    side_by_side: bool = False,
    memory: float | str = "auto",
    tile: int | None = None,
    overlap: int = 384,
    self_ensemble: bool = False,
    precision: str = "fp32",
    device: str = "auto",
    quality: int = 95,
    max_megapixels: float = 200,
    overwrite: bool = False,
) -> None:
    """Predicts all photos and videos that are not done yet. Of several processes (`crrn.ranks`), each does its part.

    Args:
        inputs: files, folders and patterns, see `crrn.inference.batch.find_inputs`.
        output: the folder of the results.

    The other arguments are the settings of ``conf/predict.yaml``.

    Raises:
        DataError: there is no input, or at least one failed; the others are done.
        ConfigError: a setting is wrong.
    """
    settings = {name: value for name, value in locals().items() if name not in NEUTRAL}
    if not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ConfigError(f"quality={quality} is out of range: give 1 to 100.")
    if not isinstance(max_megapixels, int | float) or not max_megapixels > 0:
        raise ConfigError(f"max_megapixels={max_megapixels} is not a valid limit: give a positive number.")
    folder = Path(output).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output={output} is a file: give a folder.")

    import torch

    from crrn.catalogue import default_model
    from crrn.inference.batch import Record, find_inputs, listed, plan, result_digest
    from crrn.inference.predictor import Predictor
    from crrn.ranks import Ranks
    from crrn.removers import choose_device, load_remover, remover_digest, remover_label, remover_prediction

    torch.set_flush_denormal(True)
    ranks = Ranks.from_environment()
    found = find_inputs(inputs, folder)
    layers = ["background", *(["reflection"] if reflection else []), *(["side_by_side"] if side_by_side else [])]
    jobs = plan(found.photos, folder, layers)
    chosen = default_model() if remover is None else remover
    prediction = remover_prediction(chosen).chosen(working_size, strength)
    made_by = settings | prediction.record() | {"remover": remover_digest(chosen)}
    mine = ranks.share(jobs)
    record = Record(folder, result_digest(made_by), overwrite, ranks.rank)
    record.remove_leftovers(mine)
    left = [job for job in mine if not record.done(job)]
    if ranks.first or not ranks.together:
        default = " (the default)" if remover is None else ""
        how = f"{remover_label(chosen)}{default}, {prediction.describe()}"
        part = f", the share of process {ranks.rank} of {ranks.world}" if ranks.world > 1 else ""
        print(f"model: {how}; {len(left)} of {len(mine)} to do{part}", file=sys.stderr)
    if found.passed_over and ranks.first:
        print(f"skipped, not a supported format: {listed(found.passed_over)}", file=sys.stderr)
    failed: list[str] = []
    if left:
        predictor = Predictor(
            load_remover(chosen, choose_device(device)),
            memory=memory,
            tile=tile,
            overlap=overlap,
            layers=[layer for layer in layers if layer != "side_by_side"],
            self_ensemble=self_ensemble,
            precision=precision,
            working_size=working_size,
            strength=strength,
        )
        failed = _predict(predictor, left, record, ranks, quality, max_megapixels)
    reports = ranks.finish({"made": len(left) - len(failed), "failed": failed, "of": len(mine)})
    if reports is None:
        return
    if ranks.together:
        made = ", ".join(str(report["made"]) for report in reports)
        print(f"made by the {ranks.world} processes: {made}", file=sys.stderr)
    failed, count = [name for report in reports for name in report["failed"]], sum(report["of"] for report in reports)
    if failed:
        others = f" The others are in {folder}." if len(failed) < count else ""
        shown = ", ".join(failed[:5]) + ", ..." * (len(failed) > 5)
        raise DataError(f"{len(failed)} of {count} failed ({shown}), for the reasons above.{others}")
    print(f"the results are in {folder}", file=sys.stderr)


def _predict(
    predictor: Predictor, jobs: Sequence[Job], record: Record, ranks: Ranks, quality: int, max_megapixels: float
) -> list[str]:
    """Predicts all jobs and prints the reason of each failure. Returns the names of the failed ones."""
    from crrn.cli.progress import ProgressDisplay
    from crrn.inference.video import CONTAINERS

    failed: list[str] = []
    with ProgressDisplay(shown=ranks.first) as progress:

        def show(what: str, done: float, of: int) -> None:
            ranks.tell()
            progress(what, done, of)

        for number, one in enumerate(jobs):
            tell = partial(_tell, show, number, len(jobs))
            try:
                record.refuse_foreign(one)
                if one.source.suffix.lower() in CONTAINERS:
                    _video(predictor, one, record, partial(show, "frames"), max_megapixels)
                else:
                    _photo(predictor, one, record, tell, quality, max_megapixels)
            except DataError as error:
                failed.append(one.source.name)
                where = "" if str(one.source) in str(error) else f"{one.source}: "
                print(f"failed: {where}{error}", file=sys.stderr)
                tell(1.0)
    return failed


def _tell(show: Callable[[str, float, int], None], number: int, of: int, fraction: float) -> None:
    show("photos", number + fraction, of)


def _photo(predictor: Predictor, job: Job, record: Record, tell: Any, quality: int, max_megapixels: float) -> None:
    """Reads, predicts and writes one photo."""
    import torch

    from crrn.files import write_atomically
    from crrn.inference.photo import encode, read_photo

    photo = read_photo(job.source, max_megapixels)
    mixture = photo.mixture()
    estimate = predictor(mixture, tell)
    for layer, path in job.outputs.items():
        if layer == "side_by_side":
            assert estimate.background is not None
            image = torch.cat((mixture, estimate.background), dim=-1)
        else:
            image = getattr(estimate, layer)
        with write_atomically(path, place="output=DIR") as file:
            encode(file, photo.with_pixels(image), quality)
            record.add(job, path, file)


def _video(predictor: Predictor, job: Job, record: Record, tell: Any, max_megapixels: float) -> None:
    """Reads, predicts and writes one video."""
    from contextlib import ExitStack

    from crrn.files import write_atomically
    from crrn.inference.video import predict_video

    with ExitStack() as stack:
        files = {
            layer: stack.enter_context(write_atomically(path, place="output=DIR"))
            for layer, path in job.outputs.items()
        }
        predict_video(predictor, job.source, files, tell, max_megapixels)
        for layer, path in job.outputs.items():
            record.add(job, path, files[layer])
