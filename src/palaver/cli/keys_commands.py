"""`palaver keys`: who may use the server, as Click sees it."""

import re
from typing import Any

import click

from palaver.cli.options import with_db, with_json

SCOPES = ("read", "write", "approve", "admin")
_UNITS = {"min": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Duration(click.ParamType[float]):
    """`90min`, `12h`, `30d` or `4w`, in seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds. Fails for what is no duration, and for none at all."""
        found = re.fullmatch(r"([1-9][0-9]{0,5})(min|h|d|w)", str(value))
        if found is None:
            self.fail(f"{value!r} is no duration; say 90min, 12h, 30d or 4w", param, ctx)
        return float(int(found[1]) * _UNITS[found[2]])


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of those who may use the server.

    They are in the database; a server that runs with it knows of a change within 5 seconds.
    """


@keys.command()
@click.option("--name", required=True, metavar="N", help="What it is for, for people.")
@click.option("--tenant", default="local", show_default=True, help="Whose conversations it opens.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it allows (repeatable; default: read, write and approve).",
)
@click.option("--expires", type=Duration(), metavar="30d", help="After this time (min, h, d, w).")
@click.option("--requests-per-minute", type=click.IntRange(1), metavar="N")
@click.option("--tokens-per-minute", type=click.IntRange(1), metavar="N", help="Read and written.")
@click.option("--concurrent-turns", type=click.IntRange(1), metavar="N", help="At the same time.")
@click.option(
    "--usd-per-day", type=click.FloatRange(0, min_open=True), metavar="USD", help="At list prices."
)
@click.option("--plain", is_flag=True, help="Print the key and nothing else.")
@with_db
@with_json
def create(
    name: str,
    tenant: str,
    scopes: tuple[str, ...],
    expires: float | None,
    plain: bool,
    db: str | None,
    as_json: bool,
    **limits: Any,
) -> int:
    """Make a key. It is shown this once: the database has only its digest.

    `read` allows to see conversations, `write` to change them and have models answer, `approve` to
    let tools run that ask for it, `admin` to see keys, spend and the audit log of the tenant. None
    of them contains another.

    \b
    palaver keys create --name laptop
    KEY=$(palaver keys create --name ci --scope read --expires 30d --plain)
    """
    from palaver.cli.keys import Asked, create_key

    asked = Asked(name, tenant, scopes or SCOPES[:3], expires, limits)
    return create_key(db, asked, plain=plain, as_json=as_json)


@keys.command(name="list")
@click.option("--tenant", help="Of this tenant alone.")
@with_db
@with_json
def list_(tenant: str | None, db: str | None, as_json: bool) -> int:
    """List keys: what they allow, until when, and when they were last used."""
    from palaver.cli.keys import list_keys

    return list_keys(db, tenant, as_json=as_json)


@keys.command()
@click.argument("key", metavar="ID")
@with_db
def revoke(key: str, db: str | None) -> int:
    """Revoke a key: it opens nothing any more. ID is as `palaver keys list` shows it."""
    from palaver.cli.keys import revoke_key

    return revoke_key(db, key)


COMMANDS = (keys,)
