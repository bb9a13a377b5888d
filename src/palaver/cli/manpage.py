"""The manual page: what the commands say about themselves, as roff for `man`."""

import inspect
import re
from collections.abc import Iterator, Sequence

import click

from palaver import __version__
from palaver.cli.exits import TOLD

ENVIRONMENT = (
    ("PALAVER_HOME", "The data folder."),
    ("PALAVER_MODEL", "The model of conversations that chose none."),
    (
        "PALAVER_CONFIG",
        "The configuration file (default: palaver.toml here, or in the data folder).",
    ),
    ("ANTHROPIC_API_KEY, OPENAI_API_KEY", "Keys of the providers."),
    ("ANTHROPIC_BASE_URL, OPENAI_BASE_URL", "Other addresses of them."),
    ("NO_COLOR", "No colours."),
)
NAME = "palaver"


def page(cli: click.Group) -> str:
    """palaver(1), with a section for each command."""
    return "\n".join(_lines(cli)) + "\n"


def _lines(cli: click.Group) -> Iterator[str]:
    yield f'.TH PALAVER 1 "" "palaver {__version__}" "User Commands"'
    yield from (".SH NAME", f"palaver \\- {_text(_paragraphs(cli.help)[0].rstrip('.'))}")
    yield from (".SH SYNOPSIS", ".B palaver", ".I COMMAND", "[\\fIOPTIONS\\fR]")
    yield from (
        ".SH DESCRIPTION",
        _text("Without a terminal, palaver chat takes lines from a pipe."),
    )
    yield ".SH COMMANDS"
    for name, command in cli.commands.items():
        if not command.hidden:
            yield from _command(name, command)
        if isinstance(command, click.Group):
            for inner, each in command.commands.items():
                yield from _command(f"{name} {inner}", each)
    yield ".SH ENVIRONMENT"
    for variable, what in ENVIRONMENT:
        yield from (".TP", f".B {_text(variable)}", _text(what))
    yield from (".SH EXIT STATUS", *_exits())


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=f"{NAME} {name}")
    yield f'.SS "palaver {name}"'
    pieces = command.collect_usage_pieces(context)
    yield f"\\fBpalaver {name}\\fR " + " ".join(f"\\fI{_text(piece)}\\fR" for piece in pieces)
    for paragraph in _paragraphs(command.help):
        yield ".PP"
        yield from _verbatim(paragraph) if paragraph.startswith("\b") else (_text(paragraph),)
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            yield from (".TP", f".B {_text(record[0])}", _text(record[1] or "\\&"))


def _verbatim(paragraph: str) -> Sequence[str]:
    lines = paragraph[1:].strip().split("\n")
    return (".nf", *(_text(line, keeps_lines=True) for line in lines), ".fi")


def _exits() -> Iterator[str]:
    for pair in TOLD.removeprefix("Exit codes: ").rstrip(".").split(", "):
        code, _, meaning = pair.partition(" ")
        yield from (".TP", f".B {code}", _text(meaning))


def _paragraphs(told: str | None) -> list[str]:
    return inspect.cleandoc(told or "").split("\n\n")


def _text(text: str, *, keeps_lines: bool = False) -> str:
    """Text that roff takes literally."""
    line = text if keeps_lines else re.sub(r"\s+", " ", text).strip()
    line = line.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    line = line.replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    return "\\&" + line if line.startswith(".") else line
