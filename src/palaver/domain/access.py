"""Who may do what, as values: what a key allows, and how much of it."""

from typing import Literal, TypeAlias, get_args

import msgspec

from palaver.domain.errors import PermissionRefused
from palaver.domain.values import Scope

Permission: TypeAlias = Literal["read", "write", "approve", "admin"]
"""What a key allows. None of them contains another:

* `read`: see conversations, turns, usage of one's own tenant.
* `write`: make and change them, and have models answer, which costs money.
* `approve`: let tools run that ask for it.
* `admin`: keys, spend and the audit log of one's own tenant.
"""
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)


class KeyLimits(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much a key allows. None: as much as there is. The day is that of UTC.

    A limit that is not understood is an error, for what is passed over limits nobody."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Read and written, as providers report them; a request that goes past it is the last one."""
    concurrent_turns: int | None = None
    usd_per_day: float | None = None
    """At list prices. Models whose price nobody knows count nothing."""


class Principal(msgspec.Struct, frozen=True):
    """Who asks, once that is known: whose conversations they see and what they may do there."""

    tenant: str
    actor: str
    """Who it is within the tenant, as logs and the audit name them."""
    key_id: str = ""
    """What spend and limits are counted by: a key's id, or `jwt:` and the subject of a token."""
    scopes: tuple[Permission, ...] = ()
    limits: KeyLimits | None = None
    """None: those that hold for everybody."""

    @property
    def scope(self) -> Scope:
        """As stores take it."""
        return Scope(self.tenant, self.actor)

    @property
    def account(self) -> str:
        """By what spend and limits are counted, also for those who came without a key."""
        return self.key_id or self.actor

    def require(self, permission: Permission) -> None:
        """Raises PermissionRefused unless they may."""
        if permission not in self.scopes:
            raise PermissionRefused(permission)
