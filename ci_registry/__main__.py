"""`python -m ci_registry`, the same as `ci-registry`."""

from .cli.entry import script

if __name__ == "__main__":
    script()
