"""The version of this package, read by setup.cfg and by `--version` without importing anything else."""

__version__ = "0.1.0"
