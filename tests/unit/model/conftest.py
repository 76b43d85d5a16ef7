"""Settings of the property tests: the same examples in each run, and no judging by the clock."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("model", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("model")
