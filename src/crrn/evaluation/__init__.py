"""Running removers over benchmarks, and what is made of the numbers: statistics and tables."""
