"""Benchmarks: crrn compared with other libraries, side by side in one run; see `crrn.bench.bench.Suite`."""
