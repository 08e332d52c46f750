"""The field's evaluation sets, each from its tree to a list of cases."""

from crrn.data.benchmarks.berkeley import nature20, real20
from crrn.data.benchmarks.case import Benchmark, Case, Problem, inspect, refuse_problems
from crrn.data.benchmarks.cdr import cdr
from crrn.data.benchmarks.ceilnet import ceilnet_real, ceilnet_synthetic
from crrn.data.benchmarks.openrr import openrr, rrw
from crrn.data.benchmarks.pairs import paired_folder
from crrn.data.benchmarks.sir2 import sir2

__all__ = [
    "Benchmark",
    "Case",
    "Problem",
    "cdr",
    "ceilnet_real",
    "ceilnet_synthetic",
    "inspect",
    "nature20",
    "openrr",
    "paired_folder",
    "real20",
    "refuse_problems",
    "rrw",
    "sir2",
]
