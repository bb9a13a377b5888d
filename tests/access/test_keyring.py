"""Keys: what opens, what does not, and that nobody can tell why."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from palaver import log
from palaver.domain.access import KeyLimits, Permission, Principal
from palaver.domain.clock import Clock
from palaver.domain.errors import (
    InvalidInput,
    NotAuthenticated,
    NotFound,
    PermissionRefused,
    StoreFull,
)
from palaver.service.access import REMEMBER_S, Authenticator, KeyRing, MadeKey, new_key
from palaver.store.access import ApiKey
from palaver.store.memory_access import MemoryAccess
from palaver.store.sqlite import SqliteStore
from palaver.testing import ToldClock


class CountingAccess(MemoryAccess):
    """Counts look-ups and touches, and can be made to wait or to fail."""

    def __init__(self, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.asked: list[str] = []
        self.before_answer: Callable[[], Awaitable[object]] | None = None
        self.is_full = False

    async def key_by_id(self, id: str) -> tuple[ApiKey, bytes] | None:
        self.asked.append(id)
        found = await super().key_by_id(id)
        if self.before_answer is not None:
            await self.before_answer()
        return found

    async def touch_key(self, id: str) -> None:
        if self.is_full:
            raise StoreFull("no space left")
        await super().touch_key(id)


class Ring:
    """A ring with one good key."""

    def __init__(self) -> None:
        self.clock = ToldClock()
        self.store = CountingAccess(clock=self.clock)
        self.keys = KeyRing(self.store, clock=self.clock)

    async def add(self, made: MadeKey | None = None) -> MadeKey:
        made = made or new_key("laptop", tenant="acme")
        await self.store.add_key(made.key, made.digest)
        return made

    async def refusal(self, token: str) -> str:
        with pytest.raises(NotAuthenticated) as caught:
            await self.keys.principal(token)
        return f"{caught.value.info()} {caught.value.__cause__}"


@pytest.fixture
def ring() -> Ring:
    return Ring()


async def test_a_key_opens(ring: Ring) -> None:
    """A key gives the tenant, the scopes and the limits that it was made with."""
    limits = KeyLimits(requests_per_minute=3)
    made = await ring.add(new_key("ci", tenant="acme", scopes=("admin", "read"), limits=limits))
    principal = await ring.keys.principal(made.text)
    assert principal == Principal("acme", made.key.id, made.key.id, ("read", "admin"), limits)
    principal.require("admin")
    with pytest.raises(PermissionRefused, match="write"):
        principal.require("write")
    assert (await ring.store.keys())[0].last_used_at == ring.clock.now()


async def test_keys_are_long_and_never_the_same() -> None:
    """256 bits of chance behind a public id; the digest is that of the whole text."""
    made = [new_key("x") for _ in range(200)]
    assert len({m.text for m in made}) == len({m.key.id for m in made}) == 200
    for each in made:
        prefix, id, secret = each.text.split("_", 2)
        assert (prefix, id, len(id), len(secret)) == ("pal", each.key.id, 10, 43)
        assert each.digest == sha256(each.text.encode()).digest()


async def test_all_refusals_are_alike(ring: Ring) -> None:
    """Unknown, malformed, revoked and expired keys get the same words after the same look-up."""
    good = await ring.add()
    revoked, expired = (
        await ring.add(),
        await ring.add(new_key("old", tenant="acme", expires_at=ring.clock.now() - 1)),
    )
    await ring.store.revoke_key(revoked.key.id)
    wrong = good.text[:-1] + ("A" if good.text[-1] != "A" else "B")
    refusals = set()
    for bad in (
        *(revoked.text, expired.text, new_key("x").text, wrong),
        *("", "pal_", good.text + "x", good.text[:-1], good.text.upper(), f" {good.text}"),
        *(good.text.replace("_", "-"), f"pal_{good.key.id}_", good.key.id, good.digest.hex()),
        *("' OR '1'='1", f"pal_' OR 1=1 --_{'A' * 43}", "\x00", "\ud800", "ü" * 20_000),
    ):
        before = len(ring.store.asked)
        refusals.add(await ring.refusal(bad))
        assert len(ring.store.asked) == before + 1
    assert len(refusals) == 1
    assert (await ring.keys.principal(good.text)).key_id == good.key.id


async def test_look_up_takes_no_sql(tmp_path: Path) -> None:
    """What is sent as a key reaches the database as nothing but an id: texts that would end a
    query open nothing, break nothing, and say nothing."""
    store = await SqliteStore.open(tmp_path / "chat.db")
    clock = ToldClock()
    made = new_key("laptop")
    await store.access.add_key(made.key, made.digest)
    keys = Authenticator(store.access, clock=clock)
    for bad in (
        "pal_' UNION SELECT * FROM access_keys --",
        f"pal_x' OR 'a'='a_{'A' * 43}",
        f"pal_%_{'A' * 43}",
        f"pal_{made.key.id}'--_{'A' * 43}",
        f"pal_{made.key.id};DROP TABLE access_keys_{'A' * 43}",
        f"pal_{made.key.id}\x00_{'A' * 43}",
    ):
        with pytest.raises(NotAuthenticated) as caught:
            await keys.authenticate(bad)
        assert "SELECT" not in str(caught.value)
        assert made.key.id not in str(caught.value)
    assert (await keys.authenticate(made.text)).key_id == made.key.id
    await store.close()


async def test_expiry_is_to_the_moment(ring: Ring) -> None:
    """A key that is remembered expires all the same."""
    made = await ring.add(new_key("x", tenant="acme", expires_at=ring.clock.now() + 2))
    await ring.keys.principal(made.text)
    await ring.clock.advance(1.9)
    await ring.keys.principal(made.text)
    await ring.clock.advance(0.1)
    await ring.refusal(made.text)


async def test_good_keys_are_remembered_for_seconds(ring: Ring) -> None:
    """One look-up serves five seconds; what was refused is looked up each time."""
    made = await ring.add()
    for _ in range(10):
        await ring.keys.principal(made.text)
    assert len(ring.store.asked) == 1
    await ring.clock.advance(REMEMBER_S)
    await ring.keys.principal(made.text)
    assert len(ring.store.asked) == 2
    fresh = new_key("x")
    await ring.refusal(fresh.text)
    await ring.add(fresh)
    await ring.keys.principal(fresh.text)


async def test_revoked_here_is_dead_at_once(ring: Ring) -> None:
    """A key that this process revokes opens nothing from then on, remembered or not."""
    made = await ring.add()
    await ring.keys.principal(made.text)
    with pytest.raises(NotFound):
        await ring.keys.revoke(made.key.id, tenant="rival")
    await ring.keys.principal(made.text)
    await ring.keys.revoke(made.key.id, tenant="acme")
    await ring.refusal(made.text)


async def test_revoked_while_it_is_looked_up(ring: Ring) -> None:
    """A look-up that read the key just before it was revoked does not bring it back."""
    made = await ring.add()
    ring.store.before_answer = lambda: ring.keys.revoke(made.key.id)
    await ring.refusal(made.text)
    ring.store.before_answer = None
    await ring.refusal(made.text)


async def test_revoked_elsewhere_is_dead_after_seconds(ring: Ring) -> None:
    """Another process's revocation counts when the key is looked up again."""
    made = await ring.add()
    await ring.keys.principal(made.text)
    await ring.store.revoke_key(made.key.id)
    await ring.clock.advance(REMEMBER_S)
    await ring.refusal(made.text)


async def test_nobody_can_have_it_remember_longer() -> None:
    """Five seconds are the most, whatever settings say."""
    ring = Ring()
    ring.keys = KeyRing(ring.store, clock=ring.clock, remember_s=3600)
    made = await ring.add()
    await ring.keys.principal(made.text)
    await ring.store.revoke_key(made.key.id)
    await ring.clock.advance(REMEMBER_S)
    await ring.refusal(made.text)


async def test_full_disk_locks_nobody_out(ring: Ring) -> None:
    """Noting the last use may fail; the key opens all the same."""
    made = await ring.add()
    ring.store.is_full = True
    assert (await ring.keys.principal(made.text)).tenant == "acme"


async def test_many_at_once(ring: Ring) -> None:
    """Good and bad keys at the same time get each their own answer."""
    made = [await ring.add(new_key("x", tenant=f"t{i}")) for i in range(20)]

    async def ask(number: int) -> str:
        try:
            return (await ring.keys.principal(made[number].text)).tenant
        except NotAuthenticated:
            return "refused"

    for each in made[::3]:
        await ring.store.revoke_key(each.key.id)
    answers = await asyncio.gather(*(ask(i % 20) for i in range(200)))
    assert answers == [f"t{i % 20}" if (i % 20) % 3 else "refused" for i in range(200)]


async def test_callers_need_a_key_as_soon_as_there_was_one(ring: Ring) -> None:
    """Without keys nobody is asked for one. Where the last one is revoked, everybody is."""
    asks = Authenticator(ring.store, clock=ring.clock)
    assert not await asks.is_needed()
    made = await ring.add()
    await ring.store.revoke_key(made.key.id)
    assert await asks.is_needed()
    assert await Authenticator(ring.store, clock=ring.clock).is_needed()


@pytest.mark.parametrize("scopes", [(), ("root",), ("read", "")], ids=["none", "unknown", "empty"])
def test_scopes_that_do_not_exist(scopes: tuple[Permission, ...]) -> None:
    """A key with an unknown scope, or with none, is not made."""
    with pytest.raises(InvalidInput):
        new_key("x", scopes=scopes)


async def test_secrets_stay_out_of_logs_and_reprs(ring: Ring, tmp_path: Path) -> None:
    """Canary: the key's text is in no repr and no error, and what a careless line would log of it
    is cut out."""
    made = await ring.add()
    secret = made.text.split("_", 2)[2]
    principal = await ring.keys.principal(made.text)
    await ring.keys.revoke(made.key.id)
    told = await ring.refusal(made.text)
    shown = [repr(x) for x in (made, made.key, principal, ring.keys, ring.store, told)]
    assert not [text for text in shown if secret in text or made.digest.hex() in text]
    path = tmp_path / "palaver.log"
    log.configure(path)
    try:
        careless = log.get("test")
        careless.error("refused", header=f"Bearer {made.text}", key=made.text, made=made)
        careless.error(f"no {made.text} here", nested={"a": [made.text, {"b": made.text}]})
        careless.error("cause", error=ValueError(f"bad key {made.text}!"))
    finally:
        log.configure(None)
    written = path.read_text(encoding="utf-8")
    assert written.count("\n") == 3
    assert secret not in written


def test_principals_name_themselves() -> None:
    """What is stored and counted is by tenant and key; who came without one is counted too."""
    principal = Principal("acme", "ann", "k1", ("read",))
    assert (principal.scope.tenant, principal.scope.actor) == ("acme", "ann")
    assert (principal.account, replace(principal, key_id="").account) == ("k1", "ann")


def test_start_up_does_not_pay_for_it() -> None:
    """Who has no tokens to check loads neither the library for them nor the one beneath it."""
    code = (
        "import sys, palaver.service.access, palaver.service.quotas, palaver.service.tokens\n"
        "print([m for m in ('jwt', 'cryptography', 'limits', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
