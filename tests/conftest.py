"""Settings of the test run that the configuration file cannot express."""

import asyncio

from hypothesis import HealthCheck, settings

# A busy machine draws examples slowly; that is no fault of what is tested.
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")


def pytest_configure() -> None:
    """No loop is set, so pytest-asyncio does not make one that nobody closes (before 3.14)."""
    asyncio.set_event_loop(None)
