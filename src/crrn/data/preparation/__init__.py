"""Making data ready: unpacking a downloaded benchmark, checking it in full, turning photos of reflections into a
set, and aligning real pairs."""

from crrn.data.preparation.alignment import Alignment, PairVerdict, align_pairs
from crrn.data.preparation.check import Checked, check, write_index
from crrn.data.preparation.rid import Screening, Verdict, make_reflection_set
from crrn.data.preparation.unpack import unpack

__all__ = [
    "Alignment",
    "Checked",
    "PairVerdict",
    "Screening",
    "Verdict",
    "align_pairs",
    "check",
    "make_reflection_set",
    "unpack",
    "write_index",
]
