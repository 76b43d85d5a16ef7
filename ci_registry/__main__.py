"""`python -m ci_registry`, the same as `ci-registry`."""

import sys

from .cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
