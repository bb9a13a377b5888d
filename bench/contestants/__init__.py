"""Who is measured: each does the same job in its own way, in a process of its own."""

from importlib import import_module
from importlib.util import find_spec

from bench.contestants.base import Contestant

NAMES = {
    "raw": "bench.contestants.raw:Raw",
    "palaver": "bench.contestants.palaver_engine:PalaverEngine",
    "palaver-adapter": "bench.contestants.palaver_adapter:PalaverAdapter",
    "sdk": "bench.contestants.sdk:Sdk",
    "create_agent": "bench.contestants.agent:CreateAgent",
}
_NEEDS = {
    "raw": ("aiohttp", "orjson"),
    "sdk": ("anthropic", "openai"),
    "create_agent": (
        "langchain",
        "langchain_anthropic",
        "langchain_openai",
        "langgraph.checkpoint.sqlite",
    ),
}


def missing(name: str) -> list[str]:
    """Packages that `name` needs and that are not installed."""
    return [package for package in _NEEDS.get(name, ()) if not _is_installed(package)]


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def make(name: str) -> Contestant:
    """A new contestant; imports what it needs."""
    module, _, attribute = NAMES[name].partition(":")
    made: Contestant = getattr(import_module(module), attribute)()
    return made
