"""What `palaver doctor` says about addresses."""

import pytest

from palaver.cli.doctor import _reach


@pytest.mark.parametrize(
    "address", ["foo", "localhost:8000/v1", "http://", "http://[::1", "ftp://x"]
)
async def test_what_is_no_address_is_said(address: str) -> None:
    """A misspelt base URL is told as one; the doctor goes on with what is left to look at."""
    assert await _reach(address) in (
        "no address that begins with https:// or http://",
        "Invalid IPv6 URL",
    )
