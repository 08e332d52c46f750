"""Benchmarks: the product against published ways of doing the same, run in turn; see `crrn.bench.bench.Suite`."""
