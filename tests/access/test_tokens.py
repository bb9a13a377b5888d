"""Tokens of an identity provider: what is believed, and every trick that is not."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from palaver import log
from palaver.domain.access import Principal
from palaver.domain.errors import ConfigurationError, ConnectionFailed, NotAuthenticated
from palaver.service.access import Authenticator, new_key
from palaver.service.tokens import AGAIN_S, FIRST_S, FRESH_S, STALE_S, TokenVerifier
from palaver.settings import AccessSettings, JwtSettings, Settings
from palaver.store.memory_access import MemoryAccess
from palaver.testing import ToldClock

RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
ISSUER, AUDIENCE, URL = "https://id.example.org/", "palaver", "https://id.example.org/jwks"
BASE = JwtSettings(issuer=ISSUER, audience=AUDIENCE, jwks_url=URL)


def jwk(algorithm: Any, key: Any, kid: str, **more: str) -> dict[str, Any]:
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


KEYS = (
    jwk(RSAAlgorithm, RSA, "r1", alg="RS256"),
    jwk(ECAlgorithm, EC, "e1"),
    jwk(OKPAlgorithm, ED, "d1"),
)


class Provider:
    """An identity provider whose keys can change, and that can be away."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys: list[Any] = list(keys or KEYS)
        self.asked: list[str] = []
        self.is_away = False
        self.body: bytes | None = None

    async def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        if self.is_away:
            raise ConnectionFailed("away")
        return self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()


class Case:
    """A verifier with its clock and its provider."""

    def __init__(self, settings: JwtSettings = BASE, *keys: dict[str, Any]) -> None:
        self.clock = ToldClock()
        self.provider = Provider(*keys)
        self.verifier = TokenVerifier(settings, clock=self.clock, fetch=self.provider)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = self.clock.now()
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 300, "iat": now}
        return {k: v for k, v in {**claims, **changes}.items() if v is not ...}

    def token(self, *, key: Any = RSA, alg: str = "RS256", kid: Any = "r1", **changes: Any) -> str:
        headers = {} if kid is None else {"kid": kid}
        return jwt.encode(self.claims(**changes), key, algorithm=alg, headers=headers)

    async def ask(self, token: str) -> Principal:
        return await self.verifier.principal(token)

    async def refused(self, token: str) -> None:
        with pytest.raises(NotAuthenticated) as caught:
            await self.ask(token)
        assert str(caught.value) == "the key is not valid"


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed_with_secret(header: Mapping[str, Any], claims: Mapping[str, Any], secret: bytes) -> str:
    """By hand: libraries refuse to make this."""
    body = f"{part(header)}.{part(claims)}"
    return f"{body}.{part(hmac.digest(secret, body.encode(), hashlib.sha256))}"


@pytest.fixture
def case() -> Case:
    return Case()


@pytest.mark.parametrize(
    "key, alg, kid",
    [(RSA, "RS256", "r1"), (EC, "ES256", "e1"), (ED, "EdDSA", "d1")],
    ids=["rsa", "ec", "ed25519"],
)
async def test_a_good_token(case: Case, key: Any, alg: str, kid: str) -> None:
    """A token by a key of the issuer names tenant and subject; scopes are those that we know."""
    token = case.token(key=key, alg=alg, kid=kid, scope="openid palaver:read write delete")
    assert await case.ask(token) == Principal("ann", "jwt:ann", "jwt:ann", ("read", "write"))


async def test_claims_are_read_as_configured() -> None:
    """The tenant may be another claim, scopes may be a list, and none of them are none."""
    settings = msgspec.structs.replace(BASE, tenant_claim="org", scopes_claim="scp")
    case = Case(settings)
    found = await case.ask(case.token(org="acme", scp=["admin", "approve", "x"], scope="write"))
    assert (found.tenant, found.actor, found.scopes) == ("acme", "jwt:ann", ("approve", "admin"))
    assert (await case.ask(case.token(org="acme"))).scopes == ()
    for bad in ({}, {"org": 7}, {"org": ""}, {"org": ["acme"]}, {"org": "a\x00b"}, {"org": None}):
        await case.refused(case.token(**bad))
    await case.refused(case.token(org="x" * 300))
    await case.refused(case.token(org="acme", scp=7))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example.org/"}, {"iss": "https://id.example.org"}, {"iss": ...},
{"aud": "other"}, {"aud": ...}, {"aud": []},
        {"aud": "palaver2"}, {"sub": ...}, {"sub": 7}, {"sub": ""}, {"sub": "x" * 300},
        {"exp": ...}, {"exp": "never"}, {"exp": None}, {"exp": True}, {"exp": 0}, {"exp": -1},
        {"nbf": 4_000_000_000}, {"nbf": "soon"},
    ],
    ids=str,
)  # fmt: skip
async def test_wrong_claims(case: Case, changes: dict[str, Any]) -> None:
    """Another issuer, another audience, no subject, no end: refused."""
    await case.refused(case.token(**changes))


async def test_times_are_told_by_our_clock(case: Case) -> None:
    """A token ends at its time and begins at its time, give or take half a minute."""
    token = case.token(nbf=case.clock.now() + 29)
    await case.ask(token)
    await case.refused(case.token(nbf=case.clock.now() + 31))
    await case.clock.advance(329)
    await case.ask(token)
    await case.clock.advance(1)
    await case.refused(token)
    await case.refused(case.token(exp=float("inf")))


async def test_issuer_is_one_text(case: Case) -> None:
    """A list of issuers is none."""
    body = f"{part({'alg': 'RS256', 'kid': 'r1'})}.{part(case.claims(iss=[ISSUER]))}"
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(body.encode(), RSA)
    await case.refused(f"{body}.{part(signature)}")


async def test_algorithm_confusion(case: Case) -> None:
    """A public key is no shared secret: tokens signed with its text by HMAC open nothing, neither
    do tokens that are signed by nothing."""
    claims = case.claims()
    der = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (PEM, PEM.strip(), der, b"", b"r1", json.dumps(KEYS[0]).encode()):
        for alg in ("HS256", "hs256", "RS256"):
            for kid in ("r1", None, ""):
                header = {"alg": alg, "typ": "JWT", "kid": kid}
                await case.refused(signed_with_secret(header, claims, secret))
    for odd in ("none", "None", "NONE", "", None, 7, ["none"]):
        unsigned: dict[str, Any] = {"alg": odd, "typ": "JWT", "kid": "r1"}
        for signature in ("", "AA", part(b"\x00" * 256)):
            await case.refused(f"{part(unsigned)}.{part(claims)}.{signature}")


async def test_a_key_has_one_algorithm(case: Case) -> None:
    """What a token says of its algorithm does not change how a key is used."""
    await case.ask(case.token())
    for alg in ("RS384", "RS512", "PS256"):
        await case.refused(case.token(alg=alg))
    await case.refused(case.token(kid="e1"))
    await case.refused(case.token(key=EC, alg="ES256", kid="r1"))
    only_ec = Case(msgspec.structs.replace(BASE, algorithms=("ES256",)))
    await only_ec.refused(only_ec.token())
    await only_ec.ask(only_ec.token(key=EC, alg="ES256", kid="e1"))


async def test_keys_come_from_the_settings_alone(case: Case) -> None:
    """A token that brings its own key, or says where one is, is refused, and nobody goes there."""
    forged = case.claims(sub="admin")
    for header in (
        {"jku": "https://evil.example.org/jwks", "kid": "r1"},
        {"x5u": "https://evil.example.org/x", "kid": "r1"},
        {"jwk": jwk(RSAAlgorithm, OTHER, "r1"), "kid": "r1"},
        {"jwk": jwk(RSAAlgorithm, OTHER, "new"), "kid": "new"},
        {"kid": "https://evil.example.org/jwks"},
    ):
        await case.refused(jwt.encode(forged, OTHER, algorithm="RS256", headers=header))
    assert set(case.provider.asked) == {URL}


async def test_names_of_keys_are_only_names(case: Case) -> None:
    """Paths, queries, other types and very long names find nothing."""
    for kid in ("../../dev/null", "/dev/null", "' OR 1=1 --", "", "r", "R1", "r1 ", "k" * 5_000):
        await case.refused(case.token(kid=kid))
    for odd in (7, True, ["r1"], {"r1": 1}):
        body = f"{part({'alg': 'RS256', 'kid': odd})}.{part(case.claims())}"
        await case.refused(f"{body}.{part(b'x' * 256)}")
    await case.refused(case.token(kid=None))  # of several keys none is chosen for it
    alone = Case(BASE, KEYS[0])
    await alone.ask(alone.token(kid=None))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "e30.e30.e30",
        "\x00",
        "ü.ü.ü",
        "pal_x",
        "Bearer x",
        "a" * 9_000,
    ],
    ids=lambda text: f"{text[:12]!a}",
)
async def test_what_is_no_token(case: Case, text: str) -> None:
    """Any text is refused, and none makes a request."""
    await case.refused(text)
    assert case.provider.asked == []


async def test_changed_tokens(case: Case) -> None:
    """A token of which a bit was changed, or a part was exchanged, opens nothing."""
    token, other = case.token(), case.token(sub="bob")
    head, body, signature = token.split(".")
    await case.refused(f"{head}.{other.split('.')[1]}.{signature}")
    await case.refused(f"{head}.{body}.")
    await case.refused(case.token(key=OTHER))
    for at in range(0, len(signature) - 1, 37):
        changed = "A" if signature[at] != "A" else "B"
        await case.refused(f"{head}.{body}.{signature[:at]}{changed}{signature[at + 1 :]}")
    await case.refused(
        f"{part({'alg': 'RS256', 'kid': 'r1', 'crit': ['b64'], 'b64': False})}.{body}.{signature}"
    )


async def test_keys_that_are_not_for_this(case: Case) -> None:
    """Shared secrets and keys for encryption in the set verify nothing; unknown kinds harm nobody;
    keys that are too short are refused."""
    short = rsa.generate_private_key(65537, 1024)
    case.provider.keys = [
        {"kty": "oct", "k": part(b"secret" * 8), "kid": "o1", "alg": "HS256"},
        {**KEYS[0], "use": "enc", "kid": "r2"},
        {"kty": "martian", "kid": "m"}, {"kid": "?"}, "text", None,
        jwk(RSAAlgorithm, short, "s1"),
        KEYS[0],
    ]  # fmt: skip
    header = {"alg": "HS256", "kid": "o1"}
    await case.refused(signed_with_secret(header, case.claims(), b"secret" * 8))
    await case.refused(case.token(kid="r2"))
    weak = f"{part({'alg': 'RS256', 'kid': 's1'})}.{part(case.claims())}"
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(weak.encode(), short)
    await case.refused(f"{weak}.{part(signature)}")
    await case.ask(case.token())


async def test_unknown_names_ask_once_a_minute(case: Case) -> None:
    """A key that is new at the provider is found; made-up names make one request a minute."""
    await case.ask(case.token())
    for i in range(50):
        await case.refused(case.token(kid=f"made-up-{i}"))
    assert len(case.provider.asked) == 1
    case.provider.keys.append(jwk(RSAAlgorithm, OTHER, "r2"))
    await case.clock.advance(AGAIN_S)
    await case.ask(case.token(key=OTHER, kid="r2"))
    for i in range(50):
        await case.refused(case.token(kid=f"made-up-{i}"))
    assert len(case.provider.asked) == 2


async def test_keys_that_are_taken_back(case: Case) -> None:
    """A key that the provider took out of its set opens nothing after five minutes."""
    token = case.token(exp=case.clock.now() + 9_000)
    await case.ask(token)
    case.provider.keys = [jwk(RSAAlgorithm, OTHER, "r2")]
    await case.clock.advance(FRESH_S)
    await case.ask(token)
    await case.clock.advance(1)
    await case.refused(token)


async def test_provider_that_is_away(case: Case) -> None:
    """Without it known keys count on for an hour, and not longer; before the first ones nobody
    comes in, and it is asked again soon."""
    case.provider.is_away = True
    token = case.token(exp=case.clock.now() + 90_000)
    for _ in range(5):
        await case.refused(token)
    assert len(case.provider.asked) == 1
    case.provider.is_away = False
    await case.clock.advance(FIRST_S)
    await case.ask(token)
    case.provider.is_away = True
    await case.clock.advance(STALE_S)
    await case.ask(token)
    await case.clock.advance(1)
    await case.refused(token)
    case.provider.is_away = False
    await case.clock.advance(AGAIN_S)
    await case.ask(token)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"keys": 7}', b'{"keys": {}}', b"\xff\xfe", b'{"keys": []}'],
    ids=str,
)
async def test_answers_that_are_no_keys(case: Case, body: bytes) -> None:
    """Whatever comes from the keys' address, a token is refused and nothing breaks."""
    case.provider.body = body
    await case.refused(case.token())


async def test_one_request_for_many(case: Case) -> None:
    """Many tokens at once have the keys fetched once."""
    import asyncio

    found = await asyncio.gather(*(case.ask(case.token(sub=f"s{i}")) for i in range(30)))
    assert [p.tenant for p in found] == [f"s{i}" for i in range(30)]
    assert len(case.provider.asked) == 1


async def test_key_in_a_file(tmp_path: Path) -> None:
    """One public key as PEM serves too, and is no shared secret either."""
    path = tmp_path / "key.pem"
    path.write_bytes(PEM)
    case = Case(JwtSettings(issuer=ISSUER, audience=AUDIENCE, public_key=str(path)))
    assert (await case.ask(case.token(kid=None))).tenant == "ann"
    assert (await case.ask(case.token(kid="whatever"))).tenant == "ann"
    for alg in ("HS256", "none", "RS256"):
        await case.refused(signed_with_secret({"alg": alg}, case.claims(), PEM))
    await case.refused(case.token(key=OTHER))
    await case.refused(case.token(key=EC, alg="ES256"))
    assert case.provider.asked == []


PRIVATE = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", PRIVATE, None], ids=["empty", "nonsense", "private", "absent"]
)
def test_files_that_hold_no_public_key(tmp_path: Path, content: bytes | None) -> None:
    """A file without a public key is said at the start; a private one has no business there."""
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    settings = JwtSettings(issuer=ISSUER, audience=AUDIENCE, public_key=str(path))
    with pytest.raises(ConfigurationError):
        TokenVerifier(settings, clock=ToldClock())


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": ""}, {"audience": ""}, {"jwks_url": ""}, {"public_key": "key.pem"},
        {"jwks_url": "http://id.example.org/jwks"}, {"jwks_url": "file:///etc/keys"},
        {"jwks_url": "http://localhost.evil.example.org/"}, {"algorithms": ()},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense(changes: dict[str, Any]) -> None:
    """No issuer, no audience, no keys or two kinds, keys over an open wire: said at the start."""
    with pytest.raises(ConfigurationError):
        TokenVerifier(msgspec.structs.replace(BASE, **changes), clock=ToldClock())


@pytest.mark.parametrize("alg", ["none", "HS256", "HS512", "rs256"])
def test_algorithms_of_shared_secrets_cannot_be_set(alg: str) -> None:
    """Settings know no `none` and no HMAC, and no setting that does not exist."""
    given = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": URL}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**given, "algorithms": [alg]}, JwtSettings)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"access": {"jwt": {**given, "audiences": "x"}}}, Settings)


@pytest.fixture
async def served() -> AsyncIterator[tuple[str, dict[str, web.Response]]]:
    """A real provider on this machine; what it answers by path."""
    answers: dict[str, web.Response] = {}

    async def answer(request: web.Request) -> web.Response:
        return answers[request.path]

    app = web.Application()
    app.router.add_get("/{path}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}", answers
    await runner.cleanup()


async def test_over_a_real_connection(served: tuple[str, dict[str, web.Response]]) -> None:
    """Keys come over HTTP; redirects are not followed, for they would choose another address."""
    address, answers = served
    answers["/jwks"] = web.json_response({"keys": KEYS})
    answers["/moved"] = web.Response(status=302, headers={"Location": "/jwks"})
    answers["/gone"] = web.Response(status=404, text="not here")
    clock = ToldClock()
    for path, is_good in (("/jwks", True), ("/moved", False), ("/gone", False)):
        settings = msgspec.structs.replace(BASE, jwks_url=address + path)
        verifier = TokenVerifier(settings, clock=clock)
        token = Case().token()
        if is_good:
            assert (await verifier.principal(token)).tenant == "ann"
        else:
            with pytest.raises(NotAuthenticated):
                await verifier.principal(token)


async def test_keys_and_tokens_behind_one_question(tmp_path: Path) -> None:
    """An authenticator takes both; a text is asked of one of them, never of both."""
    clock = ToldClock()
    store = MemoryAccess(clock=clock)
    path = tmp_path / "key.pem"
    path.write_bytes(PEM)
    taken = JwtSettings(issuer=ISSUER, audience=AUDIENCE, public_key=str(path))
    asks = Authenticator(store, clock=clock, settings=AccessSettings(jwt=taken))
    assert await asks.is_needed()
    made = new_key("laptop", tenant="acme")
    await store.add_key(made.key, made.digest)
    assert (await asks.authenticate(made.text)).tenant == "acme"
    assert (await asks.authenticate(Case().token())).tenant == "ann"
    for bad in ("", "x", "a.b.c", new_key("x").text, "\ud800.a.b", "x" * 100_000):
        with pytest.raises(NotAuthenticated, match="the key is not valid"):
            await asks.authenticate(bad)
    without = Authenticator(store, clock=clock)
    with pytest.raises(NotAuthenticated):
        await without.authenticate(Case().token())


async def test_tokens_stay_out_of_logs(case: Case, tmp_path: Path) -> None:
    """Canary: a refused token is in no log line and no error."""
    path = tmp_path / "palaver.log"
    log.configure(path, level="debug")
    try:
        case.provider.is_away = True
        token = case.token(sub="canary-4711")
        with pytest.raises(NotAuthenticated) as caught:
            await case.ask(token)
        log.get("test").error("careless", token=token, header=f"Bearer {token}")
        log.get("test").error(f"careless {token}")
    finally:
        log.configure(None)
    written = path.read_text(encoding="utf-8")
    assert "jwks_not_fetched" in written
    for secret in token.split("."):
        assert secret not in written + repr(caught.value)
