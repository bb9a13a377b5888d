"""Every failure that was recorded, and every way to break a stream, has a known class."""

import json
import random
from typing import Any

import pytest

import palaver
from palaver.domain.errors import (
    AuthenticationFailed,
    ContextOverflow,
    InvalidRequest,
    ModelNotFound,
    ProviderError,
    RateLimited,
    RequestTooLarge,
    ServerFailure,
)
from palaver.providers.failures import translate
from palaver.recovery.analytics import ErrorAnalytics
from palaver.recovery.classification import ErrorClassification as Class, classify
from palaver.settings import BreakerSettings, Clocks, RetrySettings, Settings
from palaver.testing import Say
from palaver.testing.provider_server import Answer, Broken, End, ProviderServer, Reply, Reset
from tests.contract.test_wires import WIRES, model_of
from tests.providers import replay
from tests.providers.replay import needs_data, records
from tests.providers.test_failures import KINDS, failure

# Judged by hand, type by type; which record is of which type is judged in tests/providers.
CLASSES: dict[type[ProviderError], Class] = {
    ModelNotFound: Class.MODEL_GONE,
    AuthenticationFailed: Class.AUTH,
    RateLimited: Class.RATE_LIMIT,
    ContextOverflow: Class.CONTEXT_OVERFLOW,
    RequestTooLarge: Class.INVALID_REQUEST,
    ServerFailure: Class.SERVER,
    InvalidRequest: Class.INVALID_REQUEST,
}
CANARY = "sk-canary-0123456789abcdef"


@needs_data
@pytest.mark.parametrize("record", records("recordings/errors"), ids=replay.ids)
def test_recorded_errors(record: dict[str, Any]) -> None:
    """Each recorded error has the class that its content means, and none is unknown."""
    assert classify(failure(record)) is CLASSES[KINDS[record["id"]]]


@needs_data
def test_no_secret_reaches_the_examples() -> None:
    """A key that a provider quotes is in no example that the analytics keep."""
    analytics = ErrorAnalytics()
    for number, record in enumerate(records("recordings/errors")):
        body = json.dumps({"error": {"message": f"bad key {CANARY}: {record['body']}"[:2000]}})
        error = translate(record["status"], {}, body.encode(), provider="x", hidden=(CANARY,))
        analytics.failed(classify(error), "m", error.info(), at=float(number))
    report = analytics.report(at=60.0)
    assert report.failures > 0
    assert report.examples
    assert "canary" not in repr(report)


@pytest.mark.parametrize("wire", WIRES)
async def test_made_of_streams(wire: str) -> None:
    """A stream that is cut, reset or spoilt in the middle of its text has the class of what was
    done to it; before its text began it would be asked for again."""
    chance = random.Random(6)
    expected = {End: {Class.TRUNCATION}, Broken: {Class.PROTOCOL}}
    expected[Reset] = {Class.NETWORK, Class.TRUNCATION}
    settings = Settings(
        retry=RetrySettings(network_attempts=1, resumes=0),
        breaker=BreakerSettings(failures=10**9),
        titles="off",
    )
    async with ProviderServer(piece=5) as server:
        model = model_of(wire, server, Clocks())
        async with palaver.open(":memory:", model=model, settings=settings) as manager:
            for _ in range(30):
                kind: Any = chance.choice([End, Broken, Reset])
                fault = kind(chance.randint(6, 16))
                server.script([Reply([Say("a long answer in many pieces " * 4)], (fault,))])
                conversation = await manager.create()
                with pytest.raises(ProviderError) as caught:
                    await conversation.say("?")
                assert classify(caught.value) in expected[kind], (fault, caught.value)
        await model.aclose()


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 503, 529]
)
@pytest.mark.parametrize("wire", WIRES)
async def test_statuses_without_a_word(wire: str, status: int) -> None:
    """A bare status is enough for a class."""
    settings = Settings(retry=RetrySettings(network_attempts=1, rate_limit_attempts=1))
    async with ProviderServer([Answer(status, "")]) as server:
        model = model_of(wire, server, Clocks())
        async with palaver.open(":memory:", model=model, settings=settings) as manager:
            with pytest.raises(ProviderError) as caught:
                await (await manager.create()).say("?")
            assert classify(caught.value) is not Class.UNKNOWN
        await model.aclose()
