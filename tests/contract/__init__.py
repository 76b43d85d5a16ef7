"""What every implementation of the protocols in `ci_registry.targets.base` must do, run on each of them."""
