"""Running removers over benchmarks under protocols: each output is computed once for all protocols of one size."""

from __future__ import annotations

import json
import logging
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crrn.allocator import give_back_freed_memory
from crrn.data.benchmarks import Benchmark, Case, inspect, refuse_problems
from crrn.data.benchmarks.case import Progress, dominant
from crrn.data.photos import read_image, upright_size
from crrn.errors import CheckpointError, ConfigError, CrrnError, DataError, RunError
from crrn.evaluation.gains import COMPARED, gains_of
from crrn.evaluation.memory import Room, bytes_of_case
from crrn.evaluation.methods import IDENTITY, Method, Outputs, file_name
from crrn.evaluation.store import FACTS, RECORD, WITHOUT_TRUTH, ImageScores, Row
from crrn.files import write_atomically
from crrn.image.picture import Pixels, to_picture, to_tensor
from crrn.metrics import Protocol, derive_mask
from crrn.metrics.masks import DERIVED
from crrn.metrics.protocols import PERCEPTUAL, Perceptual
from crrn.provenance import provenance
from crrn.ranks import Ranks
from crrn.records import read_json

log = logging.getLogger(__name__)

AHEAD = 4
"""Cases that are decoded while one is evaluated; memory does not grow with the benchmark."""
SMALL = 1 << 20
"""Pixels of the largest image that is decoded ahead."""


@dataclass(frozen=True)
class Layered:
    """A case's decoded files, uint8 (H, W, 3) each; the mask bool (H, W)."""

    mixture: Pixels
    background: Pixels | None
    reflection: Pixels | None
    mask: np.ndarray[Any, np.dtype[np.bool_]] | None


class Evaluation:
    """One evaluation and its folder.

    Args:
        folder: evaluations/NAME.
        rows: who is compared.
        benchmarks: on what; they are inspected here.
        protocols: how; by name.
        perceptual: "lpips" and "dists", where their weights were given.
        device: where networks run and metrics are computed.
        strict: any problem with the data that is found before the start is an error; else it is reported, and the
            image is in no mean.
        save_outputs: keep every estimate as PNG.
        settings: what goes into the record, plain values.
        memory: GB that the process may take, as of `crrn.inference.predictor.Predictor`.
        ranks: the processes that share the cases; each evaluates its part, with all removers.
        progress: told how far the inspection, `run` and `crrn.evaluation.cases.keep_cases` are.

    Raises:
        DataError: a benchmark has problems, and strict is on.
        RunError: the folder holds an evaluation of other data, recipes or removers under the same names.
    """

    def __init__(
        self,
        folder: Path | str,
        rows: Sequence[Method],
        benchmarks: Sequence[Benchmark],
        protocols: Sequence[Protocol],
        perceptual: Perceptual | None = None,
        device: str = "cpu",
        strict: bool = True,
        save_outputs: bool = False,
        settings: Mapping[str, Any] | None = None,
        memory: float | str = "auto",
        ranks: Ranks | None = None,
        progress: Progress = lambda what, done, of: None,
    ) -> None:
        self.folder = Path(folder)
        self.rows = list(rows)
        self.perceptual = dict(perceptual or {})
        self.device = torch.device(device)
        self.room = Room(memory, self.device)
        self.ranks = ranks or Ranks()
        self.strict = strict
        self.save_outputs = save_outputs
        self.protocols = list(protocols)
        if not self.protocols:
            raise ConfigError("No protocol is given: protocol=[crrn,errnet], for example.")
        if not benchmarks:
            raise ConfigError("No benchmark is given: benchmark=[sir2,real20], for example.")
        for protocol in self.protocols:
            clash = sorted(set(protocol.own) & {*FACTS, "problem", *COMPARED, *WITHOUT_TRUTH})
            if clash:
                cls = protocol.own[clash[0]]["class"]
                raise ConfigError(
                    f"protocol.{protocol.name}.metrics: {cls} has the name {clash[0]}, which is a column of "
                    "every result: give it another name."
                )
        self.progress = progress
        self.benchmarks = [inspect(benchmark, progress) for benchmark in benchmarks]
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) != len(names):
            raise ConfigError(
                f"Two benchmarks are called {max(names, key=names.count)}: give one another name, as in "
                f"benchmark.folder.name=NAME."
            )
        for benchmark in self.benchmarks:
            for problem in benchmark.problems if self.ranks.first else ():
                log.warning("%s: %s", benchmark.name, problem)
            for note in benchmark.notes if self.ranks.first else ():
                log.info("%s: %s", benchmark.name, note)
            if strict:
                refuse_problems(benchmark)
            if not benchmark.cases:
                raise DataError(f"{benchmark.name} has no sound case; the first problem: {benchmark.problems[0]}.")
        self._drawn = {b.name for b in self.benchmarks if any(case.mask for case in b.cases)}
        """The benchmarks whose masks come from a folder."""
        self._opened: tuple[Method, Outputs] | None = None
        self._identity: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
        self.record = self._record(dict(settings or {}))

    def _record(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Writes evaluation.json, the first process alone; a folder that holds other things under the same names is
        refused."""
        path = self.folder / "evaluation.json"
        identity: dict[str, Any] = {
            "benchmarks": {benchmark.name: benchmark.summary() for benchmark in self.benchmarks},
            "protocols": {
                p.name: {"recipe": p.recipe(), "digest": p.digest(), "describe": p.describe()} for p in self.protocols
            },
            "removers": {
                row.label: {
                    "name": row.name,
                    "digest": row.digest,
                    "prediction": row.prediction.record() if row.prediction else None,
                }
                for row in self.rows
            },
            "perceptual": sorted(self.perceptual),
        }
        known: dict[str, Any] = {}
        if path.exists():
            known = read_json(path, RECORD, f"move {self.folder} away to start anew")
            for group, digest in (("benchmarks", "fingerprint"), ("protocols", "digest"), ("removers", "digest")):
                for name, facts in identity[group].items():
                    before = known[group].get(name, facts)
                    if before[digest] != facts[digest]:
                        raise RunError(
                            f"{self.folder} holds numbers of another {name} ({group}: {digest} {before[digest]}, "
                            f"now {facts[digest]}); "
                            "keep them and start another evaluation by name=NEW."
                        )
            for group in ("benchmarks", "protocols", "removers"):
                identity[group] = {**known[group], **identity[group]}
        record = {
            **identity,
            "settings": settings,
            "device": _device_name(self.device),
            "sessions": [*known.get("sessions", []), provenance()],
        }
        for session in record["sessions"]:
            session["git"].pop("changes", None)
        if self.ranks.first:
            with write_atomically(path, "w") as file:
                json.dump(record, file, indent=2, default=str)
        return record

    def scores(self, benchmark: Benchmark, protocol: Protocol, row: Method) -> ImageScores:
        """The per-image table of a remover on a benchmark under a protocol."""
        return open_scores(self.folder, benchmark.name, protocol, row.label, self.perceptual, self.ranks.rank)

    def tables(self) -> list[ImageScores]:
        """All tables of this evaluation."""
        return [self.scores(b, p, row) for b in self.benchmarks for p in self.protocols for row in self.rows]

    def opened(self, row: Method) -> Outputs:
        """A row's remover; the last one that was asked for stays loaded."""
        if self._opened is None or self._opened[0] != row:
            self._opened = (row, row.open(self.device, self.room.memory))
        return self._opened[1]

    def run(self) -> None:
        """Evaluates all that is not done yet. A case that fails is recorded with its reason, and the others go on; see
        `failures`.

        Raises:
            RunError: a row cannot be written.
            CheckpointError, ConfigError, DataError: a remover cannot be loaded; each is tried before any is run.
        """
        for row in self.rows:
            self.opened(row)
        sizes: dict[str, list[Protocol]] = {}
        for protocol in self.protocols:
            sizes.setdefault(protocol.resize, []).append(protocol)
        for row in self.rows:
            for benchmark in self.benchmarks:
                for protocols in sizes.values():
                    tables = {protocol: self.scores(benchmark, protocol, row) for protocol in protocols}
                    mine = self.ranks.share(benchmark.cases)
                    wanted = [case for case in mine if any(case.name not in scores.done for scores in tables.values())]
                    what = f"{benchmark.name} | {row.label} | {', '.join(p.name for p in protocols)}"
                    done = len(mine) - len(wanted)
                    self.progress(what, done, len(mine))
                    for case, read in decoded(wanted):
                        self._case(benchmark, case, read, row, tables)
                        done += 1
                        self.progress(what, done, len(mine))

    def merge(self) -> None:
        """Makes the rows of all processes one table each, when the others have ended."""
        for benchmark in self.benchmarks:
            for protocol in self.protocols:
                for row in self.rows:
                    self.scores(benchmark, protocol, row).merge([case.name for case in benchmark.cases])

    def _case(
        self,
        benchmark: Benchmark,
        case: Case,
        read: Callable[[], Layered],
        row: Method,
        tables: dict[Protocol, ImageScores],
    ) -> None:
        """Evaluates one case; a failure is recorded and logged."""
        try:
            self.require_memory(case, [*tables])
            layered = read()
            if layered.mask is not None and not layered.mask.any():
                empty = f"{case.mask} is an empty mask (case {case.name})"
                if self.strict:
                    raise DataError(f"{empty}: draw one, or set strict=false to leave the case out of SSIMr and SIr.")
                log.warning("%s: %s", benchmark.name, empty)
            first = next(iter(tables))
            mixture = to_tensor(first.fit(layered.mixture)).to(self.device)
            remover = self.opened(row)
            start = time.perf_counter()
            layers = remover.layers(case, mixture, layered.mixture, first)
            seconds = time.perf_counter() - start
            assert layers.background is not None
            estimate = layers.background.to(self.device).float()
            if not estimate.isfinite().all():
                raise DataError(
                    f"{row.label} gave values that are not finite for the case {case.name} of {benchmark.name}."
                )
            if self.save_outputs:
                self._save(benchmark, first, row, case, estimate)
            for protocol, scores in tables.items():
                if case.name not in scores.done:
                    drawn = benchmark.name in self._drawn
                    values = self._measure(protocol, layered, mixture, estimate, layers.reflection, drawn)
                    if row.name != IDENTITY:
                        values |= gains_of(values, self._of_identity(benchmark, protocol, case))
                    height, width = mixture.shape[-2:]
                    scores.add(replace(row_of(case), height=height, width=width, seconds=seconds, values=values))
        except (RunError, ConfigError, CheckpointError):
            raise  # of the evaluation, not of this case
        except Exception as error:
            reason = reason_of(error)
            log.warning("failed: %s | %s | %s: %s", benchmark.name, row.label, case.name, reason)
            for scores in tables.values():
                if case.name not in scores.done:
                    scores.add(replace(row_of(case), problem=reason))
            give_back_freed_memory()  # what a large case took is not kept from the others

    def require_memory(self, case: Case, protocols: Sequence[Protocol]) -> None:
        """DataError where the memory does not suffice for a case; the remover's own need is left to its predictor."""
        try:
            size = upright_size(case.mixture)
        except Exception:  # PIL's plugins raise all kinds of errors on broken files; reading it says what is wrong
            return
        self.room.require(*bytes_of_case(size, len(case.files()), protocols, self.perceptual.keys()))

    def failures(self) -> list[str]:
        """The cases that could not be evaluated, as "BENCHMARK, CASE, METHOD: reason", one for all protocols."""
        found: dict[tuple[str, str, str], str] = {}
        for benchmark in self.benchmarks:
            cases = {case.name for case in benchmark.cases}
            for protocol in self.protocols:
                for row in self.rows:
                    scores = self.scores(benchmark, protocol, row)
                    for one in scores.rows():
                        if one.problem and one.image in cases - scores.done:
                            found.setdefault((benchmark.name, one.image, row.label), one.problem)
        return [f"{', '.join(key)}: {reason}" for key, reason in found.items()]

    def _measure(
        self,
        protocol: Protocol,
        layered: Layered,
        mixture: Tensor,
        estimate: Tensor,
        reflection: Tensor | None,
        drawn: bool,
    ) -> dict[str, float]:
        if layered.background is None:
            clipped = estimate.clamp(0, 1)
            values = {"change": (clipped - mixture).abs().mean()}
            if reflection is not None:
                values["residual"] = (mixture - clipped - reflection.to(self.device).float().clamp(0, 1)).abs().mean()
        else:
            target = to_tensor(protocol.fit(layered.background)).to(self.device)
            mask = None
            if layered.mask is not None:
                mask = torch.tensor(protocol.fit_mask(layered.mask), device=self.device)[None, None]
            elif layered.reflection is not None and not drawn:  # one mean is not made of both kinds
                mask = derive_mask(to_tensor(protocol.fit(layered.reflection)).to(self.device))
            perceptual = self.perceptual if min(target.shape[-2:]) - 2 * protocol.crop >= 64 else {}
            measured = protocol.measure(estimate, target, mask, perceptual) | protocol.measure_matched(estimate, target)
            values = {name: value[0] for name, value in measured.items()}
        return {name: float(value) for name, value in values.items()}

    def _of_identity(self, benchmark: Benchmark, protocol: Protocol, case: Case) -> dict[str, float]:
        """What the identity, the first row of all, has on a case; nothing where it could not be evaluated."""
        key = benchmark.name, protocol.name
        if key not in self._identity:
            scores = self.scores(benchmark, protocol, self.rows[0])
            self._identity[key] = {row.image: row.values for row in scores.rows() if not row.problem}
        return self._identity[key].get(case.name, {})

    def _save(self, benchmark: Benchmark, protocol: Protocol, row: Method, case: Case, estimate: Tensor) -> None:
        size = protocol.resize.replace(":", "")
        path = self.folder / "outputs" / benchmark.name / size / file_name(row.label) / f"{case.name}.png"
        with write_atomically(path) as file:
            to_picture(estimate[0]).save(file, "PNG")


def row_of(case: Case) -> Row:
    """A case's row before it is measured."""
    return Row(case.name, case.subset, dict(case.categories), scene=case.scene)


def open_scores(
    folder: Path,
    benchmark: str,
    protocol: Protocol,
    label: str,
    perceptual: Mapping[str, Any] | Sequence[str],
    rank: int = 0,
) -> ImageScores:
    """The per-image table of one remover; metrics whose weights were not given have no column."""
    metrics = [metric for metric in protocol.metrics if metric not in PERCEPTUAL or metric in perceptual]
    path = folder / "images" / benchmark / protocol.name / f"{file_name(label)}.csv"
    return ImageScores(path, [*metrics, *COMPARED, *WITHOUT_TRUTH], rank)


def mask_origin(benchmark: Mapping[str, Any]) -> str:
    """Where a benchmark's masks came from, for a reader of SSIMr and SIr; from its summary."""
    layers = benchmark["layers"]
    if layers["mask"]:
        return "from a folder"
    return DERIVED if layers["reflection"] else "none"


def decoded(cases: Sequence[Case]) -> Iterator[tuple[Case, Callable[[], Layered]]]:
    """The cases, and what gives their pictures, as `read_case` does: small ones are decoded ahead of the caller, a few
    at a time, a large one when it is asked for."""
    with ThreadPoolExecutor(2) as pool:
        ahead: dict[str, Future[Layered]] = {}
        for number, case in enumerate(cases):
            for following in cases[number : number + AHEAD + 1]:
                if following.name not in ahead and _small(following):
                    ahead[following.name] = pool.submit(read_case, following)
            future = ahead.pop(case.name, None)
            yield case, partial(read_case, case) if future is None else future.result
            del future  # and its pictures


def _small(case: Case) -> bool:
    try:
        height, width = upright_size(case.mixture)
    except Exception:  # reading it says what is wrong
        return False
    return height * width <= SMALL


def read_case(case: Case) -> Layered:
    """A case's pictures.

    Raises:
        DataError: one of them cannot be read.
    """
    mask = None if case.mask is None else dominant(read_image(case.mask))
    background = None if case.background is None else read_image(case.background)
    reflection = None if case.reflection is None else read_image(case.reflection)
    return Layered(read_image(case.mixture), background, reflection, mask)


def reason_of(error: Exception) -> str:
    """Why a case failed, in one line: of an error that is not crrn's also its kind and where it was raised."""
    if isinstance(error, CrrnError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    said = str(error).splitlines()
    return f"{type(error).__name__.lstrip('_')}: {said[0] if said else 'no message'}{where}"


def mean(values: Sequence[float]) -> float:
    """The mean of the values that there are; NaN of none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"
