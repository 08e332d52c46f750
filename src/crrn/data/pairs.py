"""Real pairs as a source: photos through glass with the same view without it, grouped by scene. Only lists files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crrn.data.benchmarks.case import Benchmark, Case
from crrn.data.benchmarks.pairs import PAIR_FOLDERS, listing, match, pair_folders
from crrn.data.scenes import SCENE_PATTERN, scene_of
from crrn.data.sources import hash_position
from crrn.errors import ConfigError, DataError, kind_of


@dataclass(frozen=True)
class RealPair:
    """One photo through glass.

    Attributes:
        mixture: the photo's file.
        background: the file of the same view without the reflection, of the same size.
        reflection: the file of the reflection layer, if there is one.
        scene: pairs of one scene train together or are held out together.
    """

    mixture: Path
    background: Path
    reflection: Path | None
    scene: str

    def files(self) -> list[Path]:
        """Its files."""
        return [file for file in (self.mixture, self.background, self.reflection) if file is not None]


@dataclass(frozen=True)
class PairSource:
    """Real pairs, sorted by scene and name, in an order that is the same on every machine."""

    pairs: tuple[RealPair, ...]

    def scenes(self) -> list[str]:
        """The scenes' names, sorted."""
        return sorted({pair.scene for pair in self.pairs})

    def only(self, scenes: Iterable[str]) -> PairSource:
        """The pairs of these scenes."""
        wanted = set(scenes)
        return PairSource(tuple(pair for pair in self.pairs if pair.scene in wanted))

    def split(self, fraction: float, held_out: Sequence[str] | None = None) -> tuple[PairSource, PairSource]:
        """Split by scene into (training pairs, held-out pairs), with at least one scene in each.

        Args:
            fraction: the share of scenes to hold out, rounded to whole scenes: those whose names have the lowest hash.
            held_out: the scenes to hold out instead; names of scenes that are not there have no effect.

        Raises:
            ConfigError: none of the scenes ``held_out`` is there, or all scenes are held out.
            DataError: fewer than two scenes.
        """
        scenes = self.scenes()
        if held_out is None:
            if len(scenes) < 2:
                raise DataError(
                    f"the real pairs show {len(scenes)} scene, training and validation need two or more: add pairs of "
                    "another scene to data.sources.pairs, or set data.sources.scene_pattern."
                )
            # A count, as a hash below the fraction can be that of most of very few scenes.
            count = min(max(1, round(fraction * len(scenes))), len(scenes) - 1)
            chosen = set(sorted(scenes, key=hash_position)[:count])
        else:
            chosen = set(held_out) & set(scenes)
            if not chosen or len(chosen) == len(scenes):
                raise ConfigError(
                    f"data.validation.pair_scenes names {len(chosen)} of the {len(scenes)} scenes of the pairs: name "
                    f"some of them, such as [{scenes[0]}], or null to hold out a share."
                )
        return self.only(set(scenes) - chosen), self.only(chosen)

    def at_most(self, count: int | None) -> PairSource:
        """At most ``count`` pairs of each scene, spread evenly over it; all where it is None."""
        if count is None:
            return self
        chosen: list[RealPair] = []
        for scene in self.scenes():
            own = self.only([scene]).pairs
            chosen += [own[len(own) * number // min(count, len(own))] for number in range(min(count, len(own)))]
        return PairSource(tuple(chosen))


def find_pairs(places: Sequence[Any], scene_pattern: str = SCENE_PATTERN) -> PairSource:
    """The pairs of some folders, sources or benchmarks.

    Args:
        places: paths of folders, `PairSource` or `Benchmark` objects. A folder has folders of pairs, at its root or up
            to four levels below it: ``blended`` and ``transmission_layer``, or other names of `PAIR_FOLDERS`.
        scene_pattern: see `crrn.data.settings.Sources`. The pairs of a source already have their scenes.

    Raises:
        ConfigError: a place is something else.
        DataError: a folder is missing or holds no pair, or a file has no partner.
    """
    cases: list[Case] = []
    pairs: list[RealPair] = []
    for place in places:
        if isinstance(place, PairSource):
            pairs += place.pairs
        elif isinstance(place, Benchmark):
            cases += _benchmark_cases(place)
        elif isinstance(place, str | Path):
            cases += _folder_cases(Path(place).expanduser())
        else:
            raise ConfigError(
                f"data.sources.pairs has {kind_of(place)}: give folders, or as _target_ what gives a "
                "crrn.data.PairSource."
            )
    for case in cases:
        if case.background is not None:
            scene = scene_of(case.mixture.stem, scene_pattern, default=case.mixture.stem)
            pairs.append(RealPair(case.mixture, case.background, case.reflection, scene))
    return PairSource(tuple(sorted(pairs, key=lambda pair: (pair.scene, pair.mixture.name, str(pair.mixture)))))


def _benchmark_cases(benchmark: Benchmark) -> list[Case]:
    if benchmark.problems:
        raise DataError(f"{benchmark.name} of data.sources.pairs: {benchmark.problems[0]}; mend the files.")
    return list(benchmark.cases)


def _folder_cases(root: Path) -> list[Case]:
    if not root.is_dir():
        raise DataError(f"there is no folder of real pairs at {root.absolute()}: set data.sources.pairs=[DIR].")
    cases: list[Case] = []
    for folder, roles in pair_folders(root.resolve()):
        found, problems = match({role: listing(folder, name) for role, name in roles.items()}, root.name)
        if problems:
            raise DataError(
                f"{problems[0].what} (data.sources.pairs; {len(problems)} such in {folder}): add the partner or remove "
                "the file."
            )
        cases += found
    if not cases:
        names = " or ".join(f"{mixture}/ and {background}/" for mixture, background, _ in PAIR_FOLDERS[:2])
        raise DataError(f"no real pairs below {root.absolute()}: data.sources.pairs looks for {names}.")
    return cases
