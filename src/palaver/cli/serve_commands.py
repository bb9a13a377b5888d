"""`palaver serve`, as Click sees it."""

import click

from palaver.cli.options import with_db


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen (default: 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8642; 0 takes a free one.")
@click.option("-m", "--model", metavar="NAME", help="Of conversations that choose none.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    help="A palaver.toml (default: PALAVER_CONFIG, ./palaver.toml, the one in PALAVER_HOME).",
)
@click.option("--tools/--no-tools", default=True, help="Offer the built-in tools.")
@click.option("--reload", is_flag=True, help="Start again when the code changes (development).")
@with_db
def serve(
    host: str | None,
    port: int | None,
    model: str | None,
    config: str | None,
    tools: bool,
    reload: bool,
    db: str | None,
) -> int:
    """Serve conversations over HTTP: REST, server-sent events and WebSockets.

    Without a provider's key the offline model answers. Other addresses than this machine's own need
    a key for callers: palaver keys create.
    """
    from palaver.cli import serving

    return serving.serve(
        serving.Wanted(
            host=host, port=port, model=model, config=config, tools=tools, db=db, reload=reload
        )
    )
