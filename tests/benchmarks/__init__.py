"""Measurements, against other tools and against the goals: `python -m tests.benchmarks`."""
