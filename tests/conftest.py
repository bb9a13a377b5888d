"""Settings of the test run that the configuration file cannot express."""

import asyncio


def pytest_configure() -> None:
    """No loop is set, so pytest-asyncio does not make one that nobody closes (before 3.14)."""
    asyncio.set_event_loop(None)
