"""The reference pages are checked against the code: nothing is missing, nothing is invented."""

import inspect
import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import palaver
from palaver import wiring
from palaver.domain import errors
from palaver.domain.errors import PalaverError
from palaver.domain.events import Event
from palaver.domain.stream import StreamEvent
from palaver.environment import ConfigFile, read_environment
from palaver.service.output import OutputInvalid
from palaver.settings import Settings
from palaver.streams.session import ResumeGap
from tests.docs.blocks import PAGES, ROOT

REFERENCE = ROOT / "docs" / "reference"
CONFIGURE = ROOT / "docs" / "how-to" / "configure.md"


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def rows(text: str) -> list[tuple[str, ...]]:
    """Cells of every table row whose first cell is code."""
    lines = re.findall(r"^\|\s*`.*\|$", text, re.MULTILINE)
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def code(cell: str) -> str:
    """What stands between backquotes."""
    found = re.search(r"`([^`]+)`", cell)
    return "" if found is None else found[1]


@pytest.mark.parametrize("family", [Event, StreamEvent], ids=["facts", "shown"])
def test_every_event_is_in_the_list_with_its_type_and_fields(family: object) -> None:
    """Each fact and each stream event has a row: class, `type`, fields."""
    listed = {code(row[0]): row for row in rows(page("events"))}
    for kind in get_args(family):
        row = listed[kind.__name__]
        assert code(row[1]) == kind.__struct_config__.tag
        assert re.findall(r"`([^`]+)`", row[2]) == list(kind.__struct_fields__), kind


def test_the_list_of_events_invents_none() -> None:
    """Each row names a type that exists."""
    known = {kind.__name__ for family in (Event, StreamEvent) for kind in get_args(family)}
    assert {code(row[0]) for row in rows(page("events"))} == known


def every_error(kind: type[PalaverError] = PalaverError) -> Iterator[type[PalaverError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every_error(child)


def test_every_error_is_in_the_list_with_its_code() -> None:
    """Each public error of the tree has a row with its stable code and whether trying again may
    help, and there are no others."""
    public = {
        kind
        for kind in every_error()
        if kind.__module__ == errors.__name__ or kind in (OutputInvalid, ResumeGap)
    }
    listed = {code(row[0]): (code(row[1]), row[2]) for row in rows(page("errors"))}
    assert listed == {
        kind.__name__: (kind.code, "yes" if kind.retryable else "no") for kind in public
    }


def test_every_public_name_is_listed_and_no_other() -> None:
    """`docs/reference/python.md` names what `palaver` exports."""
    listed = {code(row[0]).removeprefix("palaver.") for row in rows(page("python"))}
    assert listed == set(palaver.__all__)


def test_every_argument_of_open_is_explained() -> None:
    """Each argument of `palaver.open` has its line."""
    text = page("python")
    for name in inspect.signature(wiring.open).parameters:
        assert f"- `{name}`" in text, name


def settings() -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in msgspec.to_builtins(Settings()).items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": number for inner, number in value.items()}
        else:
            found[name] = value
    return found


def test_every_setting_is_listed_with_its_default() -> None:
    """`docs/reference/settings.md` has each setting, and the default that the code has."""
    listed = {code(row[0]): row[1].replace(",", "") for row in rows(page("settings"))}
    assert listed.keys() == settings().keys()
    for name, default in settings().items():
        shown = listed[name]
        if default is None or default in ((), [], {}):
            assert shown == "none", name
            continue
        if isinstance(default, bool):
            shown = str(float(shown == "true"))
        assert (shown if isinstance(default, str) else float(shown)) == default, name


class Recorder(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(PALAVER_HOME="somewhere")
        self.asked: set[str] = set()

    def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
        self.asked.add(name)
        return super().get(name, default)


def test_every_variable_that_is_read_is_in_the_table() -> None:
    """The page on configuring lists the variables that the wiring asks for, and PALAVER_DEBUG."""
    environment = Recorder()
    read_environment(environment)
    listed = {code(row[0]) for row in rows(CONFIGURE.read_text(encoding="utf-8"))}
    assert listed == environment.asked | {"PALAVER_DEBUG"}


def test_every_entry_of_the_file_is_explained() -> None:
    """The example of `palaver.toml` has every entry that the wiring accepts, and is accepted."""
    names = set(ConfigFile.__struct_fields__)
    text = CONFIGURE.read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    assert set(tomllib.loads(example[1])) == names


def test_the_page_on_the_command_line_is_current() -> None:
    """It is what `scripts/generate-cli-reference` makes of the present commands."""
    made = runpy.run_path(str(ROOT / "scripts" / "generate-cli-reference"))["reference"]()
    assert page("cli") == made


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_that_is_named_exists(path: Path) -> None:
    """`palaver something` in a console or in a sentence is a command."""
    from palaver.cli.main import cli

    text = path.read_text(encoding="utf-8")
    for named in re.findall(r"(?:^\$ |`|\| )palaver ([a-z]+)", text, re.MULTILINE):
        assert named in cli.commands, named
