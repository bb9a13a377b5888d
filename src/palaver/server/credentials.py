"""What sockets are open by: a key, or a ticket that was given for one."""

import secrets
from collections import Counter, OrderedDict

import msgspec

from palaver.domain.clock import Clock
from palaver.domain.errors import NotAuthenticated, QuotaExceeded
from palaver.server.readers import Account, ServerBusy

TICKETS = 10_000
TICKETS_EACH = 100
"""Of one caller, that were not used yet."""


class Credential(msgspec.Struct, frozen=True):
    """What a socket is open by; it is looked at again as long as the socket is open."""

    account: Account
    token: str
    """Empty where the server asks for none."""

    def __repr__(self) -> str:
        return f"Credential(account={self.account!r})"


class Tickets:
    """Those that were given out and not used."""

    def __init__(self, *, clock: Clock, good_s: float) -> None:
        self._clock, self._good_s = clock, good_s
        self._tickets: OrderedDict[str, tuple[float, Credential]] = OrderedDict()
        self._each: Counter[Account] = Counter()

    def give(self, credential: Credential) -> str:
        """A new ticket. Raises QuotaExceeded and ServerBusy where too many wait to be used."""
        self._forget_old()
        if self._each[credential.account] >= TICKETS_EACH:
            raise QuotaExceeded("tickets", allowed=TICKETS_EACH, retry_after_s=self._good_s)
        if len(self._tickets) >= TICKETS:
            raise ServerBusy("no more tickets are given for now")
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = (self._clock.monotonic() + self._good_s, credential)
        self._each[credential.account] += 1
        return ticket

    def take(self, ticket: str) -> Credential:
        """Whose it is; it is used up. Raises NotAuthenticated."""
        self._forget_old()
        found = self._tickets.pop(ticket, None)
        if found is None:
            raise NotAuthenticated("the ticket is not valid", hint="A ticket is good once.")
        self._count_out(found[1])
        return found[1]

    def _forget_old(self) -> None:
        now = self._clock.monotonic()
        while self._tickets:
            ticket, (until, credential) = next(iter(self._tickets.items()))
            if now < until:
                return
            del self._tickets[ticket]
            self._count_out(credential)

    def _count_out(self, credential: Credential) -> None:
        self._each[credential.account] -= 1
        if not self._each[credential.account]:
            del self._each[credential.account]
