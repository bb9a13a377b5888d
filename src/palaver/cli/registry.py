"""Commands that list what there is to use: tools and models."""

from palaver.cli import exits
from palaver.cli.inspection import print_json, put
from palaver.cli.interrupts import run
from palaver.cli.opening import Wanted, opened
from palaver.cli.safe import one_line
from palaver.cli.tables import table, terminal_width
from palaver.cli.words import tokens
from palaver.providers.base import ModelInfo


def list_tools(*, every: bool, as_json: bool) -> int:
    """Print the tools that a chat offers to its model."""

    async def program(_: object) -> int:
        async with opened(Wanted(db=":memory:", model="offline")) as service:
            definitions = service.manager.tools.definitions(include_hidden=every)
        if as_json:
            print_json(definitions)
            return exits.OK
        rows = [
            (
                d.name,
                d.effect + (", hidden" if d.is_hidden else ""),
                d.argument_hint,
                one_line(d.description, 300),
            )
            for d in definitions
        ]
        put(table(("tool", "effect", "arguments", "what it does"), rows, width=terminal_width()))
        return exits.OK

    return run(program)


def list_models(filter_text: str, *, as_json: bool) -> int:
    """Print known models with window, prices per million tokens, and whether a key is set."""
    from palaver.environment import KEYS, read_environment
    from palaver.providers import catalogue

    environment = read_environment()
    usable = {"offline"} | environment.keys.keys() | environment.addresses.keys()
    providers = ("offline", *KEYS)
    found = [
        info
        for provider in providers
        for info in catalogue.known(provider)
        if filter_text.lower() in info.name.lower()
    ]
    if as_json:
        print_json([_plain(info, usable) for info in found])
        return exits.OK if found else exits.FAILED
    if not found:
        close = catalogue.suggest(filter_text)
        hint = f" (did you mean {close[0]}?)" if close else ""
        exits.say(f"no known model has {filter_text!r} in its name{hint}")
        return exits.FAILED
    rows = [_row(info, usable, environment.model) for info in found]
    put(table(("model", "window", "$/M in", "$/M out", "usable"), rows))
    return exits.OK


def _provider(info: ModelInfo) -> str:
    return info.name.partition(":")[0]


def _plain(info: ModelInfo, usable: set[str]) -> dict[str, object]:
    import msgspec

    return {**msgspec.to_builtins(info), "usable": _provider(info) in usable}


def _row(info: ModelInfo, usable: set[str], default: str) -> tuple[str, ...]:
    state = "yes" if _provider(info) in usable else "no key"
    if info.name == default:
        state += ", the default"
    return (
        info.name,
        tokens(info.window) if info.window else "",
        "" if info.input_usd is None else f"{info.input_usd:.2f}",
        "" if info.output_usd is None else f"{info.output_usd:.2f}",
        state,
    )
