"""What every `AccessStore` must keep: keys, spend, the audit log."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import date, timedelta
from hashlib import sha256

import msgspec

from palaver.domain.access import KeyLimits
from palaver.domain.clock import Clock
from palaver.domain.errors import Conflict, InvalidInput, NotFound
from palaver.domain.values import Usage
from palaver.store.access import TEXT_CHARS, AccessStore, ApiKey, AuditEntry, UsageRow
from palaver.testing.store_contract.base import HandClock, raises

DIGEST = sha256(b"a secret").digest()
TODAY = date(2027, 1, 15)
ODD = ("' OR 1=1 --", "a' UNION SELECT 1--", "%", "_", "*", "", "\x00", "\ud800", "é" * 300, "🗝")
"""Texts that a careless query would read as something else."""


def key(id: str, tenant: str = "acme", name: str = "laptop") -> ApiKey:
    """A key that may read and write."""
    return ApiKey(id, name, tenant, ("read", "write"))


class _Access:
    def open_access(self, *, clock: Clock) -> AbstractAsyncContextManager[AccessStore]:
        """A new, empty store. To be overridden."""
        raise NotImplementedError


class AccessContract(_Access):
    """Subclass it and override `open_access`."""

    async def test_key_comes_back_with_its_digest(self) -> None:
        """A key is found by its id with its digest, as it was given, made now and unused."""
        clock = HandClock()
        async with self.open_access(clock=clock) as store:
            limits = KeyLimits(60, 90_000, 4, 2.5)
            given = ApiKey(
                "k1",
                "Ann's laptop",
                "acme",
                ("read", "admin"),
                created_at=1.0,
                expires_at=clock.now() + 3600.0004,
                revoked_at=1.0,
                last_used_at=1.0,
                limits=limits,
            )
            made = await store.add_key(given, DIGEST)
            assert (made.created_at, made.revoked_at, made.last_used_at) == (
                clock.now(),
                None,
                None,
            )
            assert made.expires_at == clock.now() + 3600  # to the millisecond
            assert (made.name, made.scopes, made.limits) == (given.name, given.scopes, limits)
            assert await store.key_by_id("k1") == (made, DIGEST)
            assert await store.keys("acme") == (made,)

    async def test_nothing_shows_a_digest(self) -> None:
        """Neither a key nor its repr holds the digest."""
        async with self.open_access(clock=HandClock()) as store:
            made = await store.add_key(key("k1"), DIGEST)
            shown = repr(made) + msgspec.json.encode(await store.keys()).decode()
            assert repr(DIGEST) not in shown
            assert DIGEST.hex() not in shown

    async def test_keys_are_found_by_equality_alone(self) -> None:
        """No text finds a key but its own id: neither quotes nor patterns nor other cases."""
        async with self.open_access(clock=HandClock()) as store:
            await store.add_key(key("k1"), DIGEST)
            for odd in (*ODD, "K1", "k1 ", " k1", "k1\x00", "k", "k1' --", "k_"):
                assert await store.key_by_id(odd) is None
                with raises(NotFound):
                    await store.revoke_key(odd)
                await store.touch_key(odd)
            assert (await store.keys())[0].last_used_at is None

    async def test_what_cannot_be_stored_is_refused(self) -> None:
        """A second key of an id, an odd id, name, tenant or digest: nothing is stored."""
        async with self.open_access(clock=HandClock()) as store:
            await store.add_key(key("k1"), DIGEST)
            with raises(Conflict):
                await store.add_key(key("k1", "rival"), DIGEST)
            for bad in (
                *(key(odd) for odd in ODD),
                *(key("k2", tenant=odd) for odd in ("", "\x00", "\ud800", "x" * (TEXT_CHARS + 1))),
                *(key("k2", name=odd) for odd in ("", "\x00", "\ud800", "x" * (TEXT_CHARS + 1))),
            ):
                with raises(InvalidInput):
                    await store.add_key(bad, DIGEST)
            with raises(InvalidInput):
                await store.add_key(key("k2"), b"the secret itself")
            assert [k.tenant for k in await store.keys()] == ["acme"]

    async def test_names_are_text(self) -> None:
        """Names and tenants that look like SQL are kept as they are, and asked for as they are."""
        async with self.open_access(clock=HandClock()) as store:
            odd = "x'); DROP TABLE access_keys; --"
            made = await store.add_key(key("k1", tenant=odd, name=odd), DIGEST)
            assert await store.keys(odd) == (made,)
            assert await store.keys("x") == ()

    async def test_keys_of_a_tenant(self) -> None:
        """A tenant's keys are listed in the order in which they were made, and no others."""
        async with self.open_access(clock=HandClock()) as store:
            for id, tenant in (("k3", "acme"), ("k1", "rival"), ("k2", "acme")):
                await store.add_key(key(id, tenant), DIGEST)
            assert [k.id for k in await store.keys("acme")] == ["k3", "k2"]
            assert [k.id for k in await store.keys("rival")] == ["k1"]
            assert [k.id for k in await store.keys("nobody")] == []
            assert [k.id for k in await store.keys()] == ["k3", "k1", "k2"]

    async def test_revoking(self) -> None:
        """A revoked key says when, and stays so; another tenant's is not there."""
        clock = HandClock()
        async with self.open_access(clock=clock) as store:
            made = await store.add_key(key("k1"), DIGEST)
            with raises(NotFound):
                await store.revoke_key("k1", tenant="rival")
            assert made.is_valid(clock.now())
            revoked = await store.revoke_key("k1", tenant="acme")
            assert revoked.revoked_at == clock.now()
            assert not revoked.is_valid(clock.now())
            clock.time += 60
            assert await store.revoke_key("k1") == revoked
            found = await store.key_by_id("k1")
            assert found == (revoked, DIGEST)

    async def test_touching_is_to_the_minute(self) -> None:
        """The last use is noted, at most once a minute."""
        clock = HandClock()
        async with self.open_access(clock=clock) as store:
            await store.add_key(key("k1"), DIGEST)
            first = clock.now()
            await store.touch_key("k1")
            for seconds, noted in ((59.0, first), (1.0, first + 60), (30.0, first + 60)):
                clock.time += seconds
                await store.touch_key("k1")
                assert (await store.keys())[0].last_used_at == noted
            await store.touch_key("nobody")

    async def test_what_is_spent_adds_up(self) -> None:
        """Requests, tokens and money are counted by tenant, key, day and model."""
        async with self.open_access(clock=HandClock()) as store:
            used = Usage(input=100, output=20, cache_read=7, cache_creation=5, reasoning=3)
            for _ in range(3):
                await store.add_spent("acme", "k1", TODAY, "m", usage=used, cost=0.1)
            await store.add_spent("acme", "k1", TODAY, "n", usage=Usage(input=1), cost=None)
            await store.add_spent("acme", "k2", TODAY, "m", usage=used, cost=5.0, requests=2)
            later = TODAY + timedelta(days=1)
            await store.add_spent("acme", "k1", later, "m", usage=used, cost=0.000_000_5)
            await store.add_spent("rival", "k1", TODAY, "m", usage=used, cost=9.0)
            assert await store.spent("acme", "k1", TODAY) == 0.3  # exactly
            assert await store.spent("acme", "k1", later) == 0.000_000_5
            assert await store.spent("acme", "k1", TODAY - timedelta(days=1)) == 0
            three = Usage(input=300, output=60, cache_read=21, cache_creation=15, reasoning=9)
            rows = await store.usage("acme", since=TODAY, until=later)
            assert rows == (
                UsageRow("acme", "k1", TODAY, "m", 3, three, 0.3),
                UsageRow("acme", "k1", TODAY, "n", 1, Usage(input=1), 0.0, 1),
                UsageRow("acme", "k2", TODAY, "m", 2, used, 5.0),
                UsageRow("acme", "k1", later, "m", 1, used, 0.000_000_5),
            )
            assert await store.usage("acme", since=later, until=later) == rows[3:]
            assert await store.usage("acme", since=TODAY, until=TODAY, key="k2") == rows[2:3]
            assert await store.usage("nobody", since=TODAY, until=later) == ()

    async def test_nothing_gives_money_back(self) -> None:
        """Negative counts and costs, and costs that are no numbers, are refused."""
        async with self.open_access(clock=HandClock()) as store:
            for usage, cost, requests in (
                (Usage(input=-1), 0.0, 1),
                (Usage(output=-1), 0.0, 1),
                (Usage(), -0.1, 1),
                (Usage(), float("nan"), 1),
                (Usage(), float("inf"), 1),
                (Usage(), 0.0, -1),
            ):
                with raises(InvalidInput):
                    await store.add_spent(
                        "acme", "k1", TODAY, "m", usage=usage, cost=cost, requests=requests
                    )
            assert await store.usage("acme", since=date.min, until=date.max) == ()

    async def test_spending_at_the_same_time(self) -> None:
        """What many spend at once is counted whole."""
        async with self.open_access(clock=HandClock()) as store:
            each = Usage(input=1)
            await asyncio.gather(
                *(
                    store.add_spent("acme", "k1", TODAY, "m", usage=each, cost=0.01)
                    for _ in range(50)
                )
            )
            (row,) = await store.usage("acme", since=TODAY, until=TODAY)
            assert (row.requests, row.usage.input, row.cost) == (50, 50, 0.5)

    async def test_audit_log_is_in_order(self) -> None:
        """Entries come back in order, numbered and dated by the store, page by page, to the tenant
        whose they are."""
        clock = HandClock()
        async with self.open_access(clock=clock) as store:
            written = []
            for i in range(5):
                clock.time += 1
                given = AuditEntry("acme", "k1", "key.created", target=f"k{i}", number=9, at=9.0)
                written.append(await store.audit(given))
                await store.audit(AuditEntry("rival", "k9", "key.created"))
            assert [e.at for e in written] == [clock.now() - 4 + i for i in range(5)]
            assert [e.target for e in written] == [f"k{i}" for i in range(5)]
            assert await store.audit_entries("acme") == tuple(written)
            first = await store.audit_entries("acme", limit=2)
            rest = await store.audit_entries("acme", after=first[-1].number)
            assert (*first, *rest) == tuple(written)
            assert await store.audit_entries("nobody") == ()
            with raises(InvalidInput):
                await store.audit_entries("acme", limit=0)

    async def test_audit_takes_any_text(self) -> None:
        """Whatever a stranger sent is written down, cut to what fits."""
        async with self.open_access(clock=HandClock()) as store:
            for odd in ODD:
                entry = AuditEntry("acme", odd, odd, odd, odd, odd * 100, odd, odd)
                assert (await store.audit(entry)).number > 0
            entries = await store.audit_entries("acme")
            assert len(entries) == len(ODD)
            assert entries[0].action == ODD[0]
            assert max(len(e.target) for e in entries) == TEXT_CHARS


class DurableAccessContract(AccessContract):
    """And what one must keep that outlives its process and may be opened twice at a time."""

    def open_access_again(self, *, clock: Clock) -> AbstractAsyncContextManager[AccessStore]:
        """One more store on what `open_access` opened last. To be overridden."""
        raise NotImplementedError

    async def test_all_of_it_survives(self) -> None:
        """Keys, spend and the audit log are there when the store is opened again."""
        clock = HandClock()
        async with self.open_access(clock=clock) as store:
            made = await store.add_key(key("k1"), DIGEST)
            await store.add_spent("acme", "k1", TODAY, "m", usage=Usage(input=1), cost=0.5)
            entry = await store.audit(AuditEntry("acme", "k1", "key.created", "k1"))
        async with self.open_access_again(clock=clock) as store:
            assert await store.key_by_id("k1") == (made, DIGEST)
            assert await store.spent("acme", "k1", TODAY) == 0.5
            assert await store.audit_entries("acme") == (entry,)
            assert (await store.audit(entry)).number > entry.number

    async def test_revoked_elsewhere(self) -> None:
        """A key that one process makes or revokes is made and revoked for the other; both spend
        from the same."""
        clock = HandClock()
        async with (
            self.open_access(clock=clock) as one,
            self.open_access_again(clock=clock) as two,
        ):
            await one.add_key(key("k1"), DIGEST)
            assert await two.key_by_id("k1") is not None
            await two.revoke_key("k1")
            found = await one.key_by_id("k1")
            assert found is not None
            assert found[0].revoked_at == clock.now()
            for store in (one, two):
                await store.add_spent("acme", "k1", TODAY, "m", usage=Usage(), cost=0.25)
            assert await one.spent("acme", "k1", TODAY) == 0.5
