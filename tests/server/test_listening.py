"""Where a server cannot listen, and where there is nothing to be had."""

import logging

import pytest
from msgspec.structs import replace

from palaver.domain.errors import ConfigurationError
from palaver.server.run import listening
from tests.server.conftest import Serving


async def test_a_port_that_is_taken(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, by us, with what to do about it; the framework's own line is not shown."""
    first = await serving()
    port = int(first.address.rpartition(":")[2])
    with (
        caplog.at_level(logging.DEBUG, "uvicorn.error"),
        pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}$") as refused,
    ):
        await serving(port=port)
    assert "--port" in refused.value.hint
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert not logging.getLogger("uvicorn.error").disabled


async def test_an_address_of_another_machine(serving: Serving) -> None:
    """The system's reason is said where it is another one than a port that is taken."""
    server = (await serving()).server
    server.settings = replace(server.settings, host="192.0.2.1", port=0)  # is nobody's: RFC 5737
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1:0: \w"):
        async with listening(server):
            pass


async def test_a_place_that_is_not_there(serving: Serving) -> None:
    """Whoever opens the address alone, in a browser say, is told where to go."""
    served = await serving()
    async with served.http.get("/") as answer:
        assert answer.status == 404
        assert "/api/docs" in (await answer.json(content_type=None))["hint"]
