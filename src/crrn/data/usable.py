"""Which photos and pairs a run can use: all headers are read before anything is trained."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crrn.data.pairs import PairSource
from crrn.data.photos import check_photo, upright_size
from crrn.data.settings import Sources
from crrn.data.sources import PhotoSource
from crrn.errors import DataError

log = logging.getLogger("crrn")


def usable(
    background: PhotoSource, reflection: PhotoSource, pairs: PairSource | None, settings: Sources
) -> tuple[PhotoSource, PhotoSource, PairSource | None]:
    """The sources without the photos and pairs whose headers cannot be read or tell of unfit sizes.

    Raises:
        DataError: naming the first such photo and how many there are, unless ``settings.on_corrupt`` is "skip".
    """
    found = pairs.pairs if pairs is not None else ()
    files = list(dict.fromkeys([*background.files, *reflection.files]))
    files = list(dict.fromkeys([*files, *(file for pair in found for file in pair.files())]))
    problems = _problems(files, settings.min_side)
    for pair in found:
        if not any(file in problems for file in pair.files()):
            sizes = {file: upright_size(file) for file in pair.files()}
            if len(set(sizes.values())) > 1:
                written = " and ".join(f"{file} {h}x{w}" for file, (h, w) in sizes.items())
                problems[pair.mixture] = DataError(
                    f"the photos of a real pair differ in size ({written}, height x width): crop them alike."
                )
    if problems and settings.on_corrupt == "error":
        first = next(iter(problems.values()))
        raise DataError(
            f"{first} ({len(problems)} of {len(files)} photos cannot be used)" if len(problems) > 1 else str(first)
        )
    for error in problems.values():
        log.warning("left out: %s", error)

    def without(source: PhotoSource) -> PhotoSource:
        good = tuple(file for file in source.files if file not in problems)
        return PhotoSource(source.name, good, source.held_out)

    sound = tuple(pair for pair in found if not any(file in problems for file in pair.files()))
    return without(background), without(reflection), PairSource(sound) if found else None


def _problems(files: list[Path], min_side: int) -> dict[Path, DataError]:
    """What is wrong with which file."""

    def problem(file: Path) -> DataError | None:
        try:
            check_photo(file, min_side)
        except DataError as error:
            return error
        return None

    with ThreadPoolExecutor() as pool:
        found = zip(files, pool.map(problem, files), strict=True)
        return {file: error for file, error in found if error}
