"""Who may do what, as values: what a key allows, and how much of it."""

from typing import Literal, TypeAlias, get_args

import msgspec

Permission: TypeAlias = Literal["read", "write", "approve", "admin"]
"""What a key allows. None of them contains another:

* `read`: see conversations, turns, usage of one's own tenant.
* `write`: make and change them, and have models answer, which costs money.
* `approve`: let tools run that ask for it.
* `admin`: keys, spend and the audit log of one's own tenant.
"""
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)


class KeyLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much a key allows. None: as much as there is. The day is that of UTC."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Read and written, as providers report them; a request that goes past it is the last one."""
    concurrent_turns: int | None = None
    usd_per_day: float | None = None
    """At list prices. Models whose price nobody knows count nothing."""
