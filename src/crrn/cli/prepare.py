"""``crrn prepare``: unpacks and checks benchmarks, makes a set from photos of reflections, aligns real pairs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crrn.cli.command import run
from crrn.cli.config import A_BENCHMARK, build
from crrn.errors import ConfigError, CrrnError, DataError

if TYPE_CHECKING:
    from rich.table import Table

    from crrn.data.preparation import Checked, PairVerdict

SHOWN = 10
"""Findings of one kind that are printed; the index and the manifest hold all."""


def main() -> None:
    """The command. Exits with status 1 where it failed or, with strict, something is wrong with the data."""
    run("prepare", prepare, says="nothing is half-done; give the same command again")


def prepare(
    *,
    benchmark: dict[str, Any],
    archive: str | list[str] | None,
    data_root: str,
    rid: str | None,
    pairs: str | None,
    against: str | list[str] | None,
    output: str | None,
    screening: dict[str, Any],
    alignment: dict[str, Any],
    strict: bool,
) -> list[CrrnError]:
    """Does what the settings name; the parameters are the keys of ``conf/prepare.yaml``.

    Returns:
        What is wrong with the data, one error a benchmark; of several, one that fails does not stop the others.
    """
    archives = [archive] if isinstance(archive, str) else list(archive or [])
    if [bool(benchmark), bool(rid), bool(pairs)].count(True) != 1:
        raise ConfigError(
            "Say what to prepare: benchmark=[sir2] benchmark.sir2.root=DIR, for example, rid=FOLDER for photos of "
            "reflections, or pairs=DIR for real pairs."
        )
    if archives and len(benchmark) != 1:
        raise ConfigError("archive= goes to the root of one benchmark: name that one, as in benchmark=[sir2].")
    if rid:
        return reflections(Path(rid), Path(output or Path("prepared", Path(rid).resolve().name)), screening, strict)
    if pairs:
        others = [against] if isinstance(against, str) else list(against or [])
        return align(
            Path(pairs), Path(output or Path("prepared", Path(pairs).resolve().name)), others, alignment, strict
        )
    if against:
        raise ConfigError("against= is for pairs: give pairs=DIR too.")
    failures: list[CrrnError] = []
    for key, node in benchmark.items():
        try:
            failures += check_benchmark(key, node, archives, Path(output or "prepared"), strict)
        except CrrnError as error:
            failures.append(error)
    return failures


def check_benchmark(
    key: str, node: dict[str, Any], archives: Sequence[str], folder: Path, strict: bool
) -> list[CrrnError]:
    """Unpacks a benchmark where archives are given, checks it, prints the findings and writes FOLDER/NAME.json."""
    from crrn.cli.progress import ProgressDisplay
    from crrn.data.benchmarks import Benchmark
    from crrn.data.preparation import check, unpack, write_index

    if archives and "root" not in node:
        raise ConfigError(f"benchmark.{key} has no root to unpack the archive to: unpack it by hand, without archive=.")
    with ProgressDisplay() as progress:
        if archives and unpack(archives, node["root"], progress):
            print(f"Unpacked {', '.join(map(str, archives))} to {node['root']}", file=sys.stderr)
        checked = check(build(node, f"benchmark.{key}", Benchmark, A_BENCHMARK), progress)
    index = folder / f"{checked.benchmark.name}.json"
    write_index(checked, index)
    show([subset_table(checked), finding_table(checked)], f"Index: {index}")
    problems = checked.benchmark.problems
    if not (problems and strict):
        return []
    counts = ", ".join(f"{number} x {kind}" for kind, number in Counter(p.kind for p in problems).items())
    return [
        DataError(
            f"{checked.benchmark.name} has {counts}; all are in {index}: mend the files, or set strict=false to take "
            f"the {len(checked.benchmark.cases)} sound cases as they are."
        )
    ]


def reflections(folder: Path, output: Path, screening: dict[str, Any], strict: bool) -> list[CrrnError]:
    """Makes a reflection set of a folder of photos and prints what became of them."""
    settings = build(screening, "screening")

    from crrn.cli.progress import ProgressDisplay
    from crrn.data.preparation import make_reflection_set
    from crrn.data.preparation.rid import UNREADABLE, passed_over

    with ProgressDisplay() as progress:
        verdicts = make_reflection_set(folder, output, settings, progress)
    shown = verdict_table(str(folder), verdicts)
    others = ", ".join(f"{number} {suffix}" for suffix, number in passed_over(folder).items())
    notes = [
        f"Reflection set: {output / 'photos'}   Manifest: {output / 'manifest.csv'}   To look at: {output}/sheet-*.jpg"
    ]
    if others:
        notes.append(f"Taken for no photos: {others} (convert a phone's .heic to JPEG first).")
    show([shown], *notes)
    torn = [verdict for verdict in verdicts if verdict.verdict == UNREADABLE]
    if not (torn and strict):
        return []
    return [
        DataError(
            f"{len(torn)} photos of {folder} cannot be read; the first: {torn[0].why}; replace them, or set "
            "strict=false to do without them."
        )
    ]


def align(
    folder: Path, output: Path, against: Sequence[str], alignment: dict[str, Any], strict: bool
) -> list[CrrnError]:
    """Mends the shifted ones of a folder of pairs, in a copy, and prints what became of them."""
    settings = build(alignment, "alignment")

    from crrn.cli.progress import ProgressDisplay
    from crrn.data.preparation import align_pairs
    from crrn.data.preparation.alignment import FAULTS, TABLE, WRITTEN

    with ProgressDisplay() as progress:
        verdicts = align_pairs(folder, output, settings, against, progress)
    tables = [action_table(str(folder), verdicts)]
    tables += [table for table in (likeness_table(verdicts, role) for role in ("like", "against")) if table.row_count]
    notes = [f"Pairs: {output}   Table: {output / TABLE}"]
    if any(verdict.action in WRITTEN for verdict in verdicts):
        notes.append(f"To train on them: data.sources.pairs=[{output}]")
    show(tables, *notes)
    faulty = [verdict for verdict in verdicts if verdict.action in FAULTS]
    if not (faulty and strict):
        return []
    return [
        DataError(
            f"{len(faulty)} files or pairs cannot be used; the first: {faulty[0].name}: {faulty[0].why}; mend them, or "
            "set strict=false to do without them."
        )
    ]


def count_table(title: str, kind: str, counted: str) -> Table:
    """A table without rows: kinds, how many there are of each, and the first ones."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, label in enumerate((kind, counted, "such as")):
        table.add_column(label, justify="right" if number == 1 else "left", overflow="fold")
    return table


def action_table(folder: str, verdicts: Sequence[PairVerdict]) -> Table:
    """A row an action: how many pairs, and the first of them with the reason."""
    from crrn.data.preparation.alignment import WRITTEN, count_actions

    counts = count_actions(verdicts)
    usable = sum(counts[action] for action in WRITTEN)
    table = count_table(f"{folder}: {usable} pairs, {counts['cropped']} of them cropped", "action", "pairs")
    for action, number in counts.items():
        first = [verdict for verdict in verdicts if verdict.action == action][:3]
        such = [f"{verdict.name} ({verdict.why})" if verdict.why else verdict.name for verdict in first]
        if action == "cropped":
            such = [
                f"{verdict.name} ({verdict.measured.shift_x:+.2f}, {verdict.measured.shift_y:+.2f} px)"
                for verdict in first
                if verdict.measured
            ]
        table.add_row(action, str(number), "; ".join(such))
    return table


def likeness_table(verdicts: Sequence[PairVerdict], role: str) -> Table:
    """A row a near-duplicate, the most alike first.

    Args:
        verdicts: of all pairs.
        role: "like" for those among pairs of different scenes, each two of them once; "against" for those of other
            folders.
    """
    from rich.table import Table

    found: dict[frozenset[str], tuple[int, str, str]] = {}
    for verdict in verdicts:
        likeness = getattr(verdict, role)
        if likeness:
            found.setdefault(frozenset((verdict.name, likeness[0])), (likeness[1], verdict.name, likeness[0]))
    where = "among pairs of different scenes" if role == "like" else "with photos of against="
    table = Table(title=f"{len(found)} near-duplicates {where}", title_justify="left")
    for number, label in enumerate(("bits of 64", "pair", "is like")):
        table.add_column(label, justify="left" if number else "right", overflow="fold")
    for bits, name, other in sorted(found.values())[:SHOWN]:
        table.add_row(str(bits), name, other)
    if len(found) > SHOWN:
        table.add_row("", f"and {len(found) - SHOWN} more", "all are in the table's file")
    return table


def subset_table(checked: Checked) -> Table:
    """A row a subset: images, published counts, and how many have which ground truth."""
    from rich.table import Table

    benchmark = checked.benchmark
    table = Table(
        title=f"{benchmark.name}, fingerprint {benchmark.fingerprint}",
        title_justify="left",
        caption_justify="left",
    )
    for number, label in enumerate(("subset", "sound images", "published", "background", "reflection", "mask", "size")):
        table.add_column(label, justify="right" if number else "left")
    for subset in sorted({*benchmark.counts(), *benchmark.published}):
        cases = [case for case in benchmark.cases if case.subset == subset]
        layers = [
            sum(getattr(case, role) is not None for case in cases) for role in ("background", "reflection", "mask")
        ]
        sizes = Counter(checked.sizes[case.name] for case in cases).most_common()
        size = f"{sizes[0][0][0]}x{sizes[0][0][1]}" if sizes else "–"
        known = " or ".join(map(str, benchmark.published.get(subset, ()))) or "–"
        more = f" and {len(sizes) - 1} more" if len(sizes) > 1 else ""
        table.add_row(subset, str(len(cases)), known, *map(str, layers), size + more)
    table.caption = "Sizes are height x width."
    return table


def finding_table(checked: Checked) -> Table:
    """A row a finding, by kind, with each kind counted."""
    from rich.table import Table

    problems = checked.benchmark.problems
    table = Table(title=f"{len(problems)} findings" if problems else "Nothing wrong", title_justify="left")
    if not problems:
        return table
    for label in ("kind", "count", "where", "what"):
        table.add_column(label, overflow="fold")
    for kind, number in Counter(problem.kind for problem in problems).items():
        listed = [problem for problem in problems if problem.kind == kind]
        for place, problem in enumerate(listed[:SHOWN]):
            head = (kind, str(number)) if place == 0 else ("", "")
            table.add_row(*head, problem.where, problem.what)
        if number > SHOWN:
            table.add_row("", "", f"and {number - SHOWN} more", "all are in the index")
        table.add_section()
    return table


def verdict_table(folder: str, verdicts: Sequence[Any]) -> Table:
    """A row a verdict: how many photos, and the first of them with the reason."""
    from crrn.data.preparation.rid import KEPT, count

    counts = count(verdicts)
    kept = sum(counts[name] for name in KEPT)
    table = count_table(f"{folder}: {kept} of {len(verdicts)} photos kept", "verdict", "photos")
    for name, number in counts.items():
        first = [verdict for verdict in verdicts if verdict.verdict == name][:3]
        such = "; ".join(f"{verdict.photo} ({verdict.why})" if verdict.why else verdict.photo for verdict in first)
        table.add_row(name, str(number), such)
    return table


def show(tables: Sequence[Table], *notes: str) -> None:
    """Prints tables, and notes below them."""
    from crrn.screen import console

    screen = console()
    for table in tables:
        if table.columns:
            screen.print(table)
        else:
            screen.print(table.title)
    for note in notes:
        screen.print(note)


if __name__ == "__main__":
    main()
