from typing import Any

import pytest

from palaver.domain.errors import (
    AuthenticationFailed,
    ContentBlocked,
    ContextOverflow,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    ServerFailure,
)
from palaver.providers.failures import MESSAGE_CHARS, person_text, retry_after_s, translate
from tests.providers import replay
from tests.providers.replay import needs_data, payloads, records

# Judged by what each record says, not by any code of ours.
EXPECTED: dict[type[ProviderError], str] = {
    ModelNotFound: """c4ccd4ea71c6c729 1d76e426f7882ac6 bd61fdfe6a961a2a eaa689f003c34c97
        0345dd4dc183aed7 aeacca048d3dadc7 9439ec5834d63da6 a2f22f383ca641f2""",
    AuthenticationFailed: """6311a3633a15f662 b2ecdb7150fc4fdf 4fdd3c40326fe7ae e994c05df533ba73
        f09623a0781f9810 bf80f9a8bc3570e5 b82219a8553b5a4b 59a31cbe64155780 ae5e5b41c3f625d4
        1ecbfd085da8c44b 9af0062fba247d50 9a17da0566862344 35d02c861a0e6c6f 4e1df20d33921404
        ef38c50a71e077b4 4a018052bcedb4ac cd41ba7f1be8883e cc4a8ef3bd356e09""",
    RateLimited: """52012cd46f3f91a7 a16ddcc77e698f13 f6aa7fa94be9f9aa cc6f26766dd676a7
        6b1cb9c315b03165 344af7e2a28a3197""",
    # The 429 among these is one request that is larger than a minute's quota: waiting cannot help.
    ContextOverflow: """10c67eadd99805c7 ffafe0fb2dde5f34 6760b60bbc48d959 bdde4bc450ee23c3
        8f8b252632ec5271 6a8fda87b6626c33 8e7338308823fe67""",
    RequestTooLarge: "0f0c6abcfe778d30",
    ServerFailure: "3f08a258467a30a5",
    InvalidRequest: """229d155dbdff1c67 22fdb87cc8c882c6 d4d228bd8842ef97 4a3e93a63dc936e4
        f547678b8877797e bffc60e8b7bb5ec7 ee094cb09e835d54 7490663d1c42b412 c1145bd99520df1b
        2da3980a8f69f85e 93543298b28518d8 1362f456cdc789e7 e25543c2766dd79c 4d15e64f907bdd15
        f3ebd810e31465d6 70a1cfae3b605d80""",
}
KINDS = {record: kind for kind, ids in EXPECTED.items() for record in ids.split()}


def failure(record: dict[str, Any]) -> ProviderError:
    body = str(record["body"])
    if record["stream"]:
        body = next(data for data in payloads(record) if '"error":{' in data)
    return translate(
        record["status"], dict(record["headers"]), body.encode(), provider="x", in_stream=False
    )


@needs_data
@pytest.mark.parametrize("record", records("recordings/errors"), ids=replay.ids)
def test_recorded_errors(record: dict[str, Any]) -> None:
    """Every recorded error becomes the type that its content means, in words for people."""
    found = failure(record)
    assert type(found) is KINDS[record["id"]]
    assert 0 < len(found.message) <= MESSAGE_CHARS
    assert "<" not in found.message or "<not-a-r" in found.message
    assert found.status == record["status"]
    headers = {name.lower(): value for name, value in record["headers"]}
    if "x-should-retry" in headers:
        assert found.can_retry == (headers["x-should-retry"] == "true")
    for name in ("request-id", "x-request-id"):
        if name in headers:
            assert found.request_id == headers[name]


@needs_data
def test_every_record_is_judged() -> None:
    """The table above knows every record."""
    assert {record["id"] for record in records("recordings/errors")} == set(KINDS)


ANTHROPIC = '{"type":"error","error":{"type":"%s","message":"%s"},"request_id":"req_1"}'


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (529, ANTHROPIC % ("overloaded_error", "Overloaded"), Overloaded),
        (200, ANTHROPIC % ("overloaded_error", "Overloaded"), Overloaded),
        (200, ANTHROPIC % ("api_error", "Internal server error"), ServerFailure),
        (200, ANTHROPIC % ("invalid_request_error", "no"), InvalidRequest),
        (403, ANTHROPIC % ("permission_error", "not yours"), PermissionDenied),
        (
            413,
            ANTHROPIC % ("request_too_large", "Request exceeds the maximum size"),
            RequestTooLarge,
        ),
        (
            400,
            ANTHROPIC % ("invalid_request_error", "Your credit balance is too low to access"),
            QuotaExhausted,
        ),
        (
            400,
            ANTHROPIC % ("invalid_request_error", "Output blocked by content filtering policy"),
            ContentBlocked,
        ),
        (
            400,
            ANTHROPIC % ("x", "input length and `max_tokens` exceed context limit: 1 + 2 > 2"),
            ContextOverflow,
        ),
        (
            429,
            (
                '{"error":{"message":"You exceeded your current quota, please check your plan",'
                '"type":"insufficient_quota","code":"insufficient_quota"}}'
            ),
            QuotaExhausted,
        ),
        (
            400,
            '{"error":{"message":"The response was filtered","code":"content_filter"}}',
            ContentBlocked,
        ),
        (429, '[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"x"}}]', RateLimited),
        (
            422,
            '{"detail":[{"loc":["body"],"msg":"field required","type":"missing"}]}',
            InvalidRequest,
        ),
        (404, '{"object":"error","message":"no such model","code":404}', ModelNotFound),
        (502, "<html><head><title>502 Bad Gateway</title></head></html>", ServerFailure),
        (404, "404 page not found", InvalidRequest),
        (400, ANTHROPIC % ("x", "messages.0.content.0: the image is too large"), InvalidRequest),
        (503, "", Overloaded),
        (500, '{"error":null}', ServerFailure),
        (400, '"just text"', InvalidRequest),
        (400, b"\xff\xfe", InvalidRequest),
        (200, '{"error":{"code":"server_error","message":"x"}}', ServerFailure),
        (200, '{"error":{"code":429,"message":"busy"}}', RateLimited),
        (200, '{"error":"something"}', ServerFailure),
    ],
)
def test_kinds(status: int, body: str | bytes, kind: type[ProviderError]) -> None:
    """Body first, then status; shapes of many providers."""
    raw = body.encode() if isinstance(body, str) else body
    found = translate(status, {}, raw, provider="x")
    assert type(found) is kind
    assert found.message


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            30.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds, seconds and dates are understood; nonsense is not obeyed."""
    assert retry_after_s(headers) == seconds


def test_wait_said_in_words() -> None:
    """A rate limit that says its wait only in its text is obeyed too."""
    body = b'{"error":{"code":"rate_limit_exceeded","message":"Please try again in 1m2.5s."}}'
    assert translate(429, {}, body, provider="x").retry_after_s == 62.5


def test_success_headers_say_nothing() -> None:
    """`retry-after` of a response that succeeded does not bind an error within its stream."""
    found = translate(200, {"Retry-After": "30"}, b'{"error":{}}', provider="x", in_stream=True)
    assert (found.retry_after_s, found.in_stream) == (None, True)


def test_secrets_are_blacked_out() -> None:
    """Neither what looks like a key nor the request's own key reaches a person."""
    text = "bad key sk-ant-api03-abcdefghijkl, Bearer abcdefghijklmnop, my-own-odd-secret"
    shown = person_text(text, hidden=("my-own-odd-secret",))
    assert "abcdefgh" not in shown
    assert "odd-secret" not in shown
    body = b'{"error":{"message":"Incorrect key my-own-odd-secret provided"}}'
    found = translate(401, {}, body, provider="x", hidden=("my-own-odd-secret",))
    assert "odd" not in str(found)


def test_long_and_hostile_bodies() -> None:
    """Messages are short, on one line, and nothing in a body can raise."""
    found = translate(500, {}, b"line\n" * 10_000, provider="x")
    assert len(found.message) == MESSAGE_CHARS
    assert "\n" not in found.message
    assert translate(400, {}, b"[" * 5_000, provider="x").message
    assert translate(400, {}, b'{"error":{"message":{"a":1},"code":[]}}', provider="x").message
