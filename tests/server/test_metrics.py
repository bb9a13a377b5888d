"""What Prometheus reads, and who may."""

import subprocess
import sys
from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families

from palaver.domain.errors import AuthenticationFailed
from palaver.domain.events import AttemptMade, TurnClosed
from palaver.domain.ids import TurnId
from palaver.domain.values import ErrorInfo, TurnOutcome, Usage
from palaver.recovery.breaker import BreakerReading, BreakerState
from palaver.server.metrics import MODELS, OTHER, Metrics, Standing
from palaver.testing import Fail, Pause, Say, ScriptedModel
from tests.server.conftest import Served, Serving

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
NOTHING = Standing(0, 0, 0, 0, 0, 0, False)
TOKEN = "a-token-of-the-metrics-0123456789"


def parsed(text: str) -> Samples:
    """Samples by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def figures(served: Served, sent: dict[str, str] | None = None) -> Samples:
    response = await served.http.get("/metrics", headers=sent or {})
    assert response.status == 200, await response.text()
    assert response.content_type == "text/plain"
    return parsed(await response.text())


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


async def test_a_turn_is_counted(serving: Serving) -> None:
    """Its outcome, its tokens by kind and model, and how long its first content took."""
    served = await serving(ScriptedModel(["Hello."]))
    await (await served.turn()).ended()
    found = await figures(served)
    assert value(found, "palaver_turns_total", outcome="completed") == 1
    model = "scripted:model"
    assert value(found, "palaver_attempts_total", model=model, outcome="answered") == 1
    assert value(found, "palaver_tokens_total", model=model, kind="input") > 0
    assert value(found, "palaver_tokens_total", model=model, kind="output") > 0
    assert value(found, "palaver_first_token_seconds_count", model=model) == 1
    assert value(found, "palaver_attempt_seconds_count", model=model) == 1


async def test_errors_by_class(serving: Serving) -> None:
    """A failure is counted by its code, at the attempt and at the turn that it ended."""
    served = await serving(ScriptedModel([[Fail(AuthenticationFailed("no"))]]))
    await (await served.turn()).ended()
    found = await figures(served)
    assert value(found, "palaver_turns_total", outcome="failed") == 1
    assert value(found, "palaver_turn_errors_total", code="provider_auth") == 1
    assert value(found, "palaver_attempt_errors_total", code="provider_auth") == 1


async def test_what_is_open(serving: Serving) -> None:
    """Streams and turns are there while they are, and gone afterwards."""
    served = await serving(ScriptedModel([[Say("a"), Pause(60.0)]]))
    id = await served.conversation()
    streaming = await served.http.post(
        f"/api/conversations/{id}/turns", json={"text": "x", "stream": True}
    )
    await streaming.content.readuntil(b"text.delta")
    found = await figures(served)
    assert value(found, "palaver_turns_running") == 1
    assert value(found, "palaver_streams_open") == 1
    assert value(found, "palaver_sockets_open") == 0
    turn = streaming.headers["location"].split("/")[3]
    await served.http.post(f"/api/turns/{turn}/cancel")
    await streaming.read()
    found = await figures(served)
    assert value(found, "palaver_turns_running") == 0


async def test_requests_by_route(serving: Serving) -> None:
    """By the route, never by the path that was asked for: there are any number of those."""
    served = await serving()
    for path in ("/api/conversations/conv_1", "/api/conversations/conv_2", "/nowhere", "/else"):
        await served.http.get(path)
    found = await figures(served)
    name = "palaver_http_requests_total"
    route = "/api/conversations/{conversation}"
    assert value(found, name, method="GET", route=route, status="404") == 2
    assert value(found, name, method="GET", route=OTHER, status="404") == 2
    assert not any("conv_1" in str(labels) for _, labels in found)


def test_labels_are_bounded() -> None:
    """Names that callers make up take no place; models beyond the bound are one."""
    metrics = Metrics()
    error = ErrorInfo("model_not_found", "no")
    for number in range(1_000):
        metrics.attempt(AttemptMade(TurnId("t"), 1, f"made:up-{number}", Usage(), error=error))
    for number in range(MODELS + 30):
        metrics.attempt(AttemptMade(TurnId("t"), 1, f"real:{number}", Usage(1, 1)))
    for number in range(1_000):
        told = ErrorInfo(f"code_{number}", "x")
        metrics.turn(TurnClosed(TurnId("t"), TurnOutcome.FAILED, told))
        metrics.request(f"M{number}", f"/r{number}", 200)
    found = parsed(metrics.text(NOTHING).decode())
    models = {dict(labels)["model"] for (_, labels) in found if "model" in dict(labels)}
    assert len(models) == MODELS + 1
    assert OTHER in models
    assert len(found) < 3_000


def test_breakers() -> None:
    """Each breaker has a one at the state that it is in."""
    readings = (
        BreakerReading("anthropic:a", BreakerState.OPEN, 5, 5, 1),
        BreakerReading("openai:b", BreakerState.CLOSED, 5, 0, 0),
    )
    standing = Standing(1, 2, 3, 4, 5, 6, True, readings)
    found = parsed(Metrics().text(standing).decode())
    at = {
        (dict(labels)["breaker"], dict(labels)["state"]): v
        for (name, labels), v in found.items()
        if name == "palaver_breaker_state"
    }
    assert at["anthropic:a", "open"] == at["openai:b", "closed"] == 1
    assert sum(at.values()) == 2
    assert value(found, "palaver_outbox_conversations") == 5
    assert value(found, "palaver_draining") == 1


def test_servers_do_not_share_figures() -> None:
    """Two servers in one process count for themselves."""
    one, other = Metrics(), Metrics()
    one.turn(TurnClosed(TurnId("t"), TurnOutcome.COMPLETED))
    assert b'palaver_turns_total{outcome="completed"} 1.0' in one.text(NOTHING)
    assert b"palaver_turns_total{" not in other.text(NOTHING)


async def statuses(served: Served, sent: Sequence[dict[str, str]]) -> list[int]:
    return [(await served.http.get("/metrics", headers=each)).status for each in sent]


async def test_who_may_read(serving: Serving) -> None:
    """Without keys everybody on this machine; with keys the operator's admins and the token alone:
    the figures are of all tenants."""
    served = await serving(metrics_token=TOKEN)
    assert await statuses(served, [{}]) == [200]
    admin = await served.key("admin")
    others = await served.key("read", "write", "approve", "admin", tenant="other")
    reader = await served.key("read", "write")
    token = {"authorization": f"Bearer {TOKEN}"}
    wrong = {"authorization": f"Bearer {TOKEN[:-1]}x"}
    sent = [admin, token, others, reader, wrong, {}]
    assert await statuses(served, sent) == [200, 200, 403, 403, 401, 401]
    assert (await served.http.get("/api/conversations", headers=token)).status == 401


async def test_no_token_no_entrance(serving: Serving) -> None:
    """Where no token is set an empty one opens nothing."""
    served = await serving()
    await served.key()
    sent = [{}, {"authorization": "Bearer "}, {"authorization": "Bearer"}, {"x-api-key": ""}]
    assert await statuses(served, sent) == [401] * 4


async def test_nobodys_names(serving: Serving) -> None:
    """No tenant, key, conversation or text is in the figures."""
    served = await serving(ScriptedModel(["secret answer"]))
    sent = await served.key(tenant="tenant-of-somebody")
    id = await served.conversation(tenant="tenant-of-somebody")
    place = f"/api/conversations/{id}/turns?wait=30"
    await served.http.post(place, json={"text": "secret question"}, headers=sent)
    admin = await served.key()
    text = await (await served.http.get("/metrics", headers=admin)).text()
    for secret in ("tenant-of-somebody", id, "secret", sent["authorization"].split("_")[1]):
        assert secret not in text


def test_start_up_does_not_pay() -> None:
    """Programs that serve nothing do not load what counts."""
    code = "import palaver, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
