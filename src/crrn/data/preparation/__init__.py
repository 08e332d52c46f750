"""Making data ready: unpacking a downloaded benchmark, checking it in full, and turning photos of reflections into a
set."""

from crrn.data.preparation.check import Checked, check, write_index
from crrn.data.preparation.rid import Screening, Verdict, make_reflection_set
from crrn.data.preparation.unpack import unpack

__all__ = ["Checked", "Screening", "Verdict", "check", "make_reflection_set", "unpack", "write_index"]
