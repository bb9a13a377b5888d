"""Aider's chat history: Markdown in which `#### ` begins a line of the person.

`> ` begins a line of the program (costs, commits, errors), which is no part of the conversation;
what is left is the model's. A file holds many sessions, each under its own heading. Lines inside a
code block belong to it, unless they end in the two spaces that aider writes behind a person's line:
an answer that was cut leaves its block open.
"""

import re
from collections.abc import Iterator

from palaver.domain.messages import Message, Role, Text
from palaver.travel.base import Imported, RepairKind
from palaver.travel.draft import Draft
from palaver.travel.fields import name_of, seconds, string
from palaver.travel.source import Source

NAME = "aider"
_START = re.compile(r"# aider chat started at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")
_MODEL = re.compile(r"> (?:Main m|M)odels?: ([^\s,]+)")
_FENCE = re.compile(r"(`{3,}|~{3,})")
_ASKED, _TOLD = "####", ">"


def sniff(source: Source) -> bool:
    """Whether it is text with aider's heading, or records of such texts."""
    if any("markdown" in fields and "started" in fields for fields in source.head[:1]):
        return True
    return source.document is None and _START.search(source.text[:1_000_000]) is not None


def read(source: Source) -> Iterator[Imported]:
    """Every session of the file in which somebody said something."""
    if source.head and "markdown" in source.head[0]:
        for record in source.records():
            markdown = string(record.fields.get("markdown"))
            yield from _sessions(markdown, name_of(record.fields.get("id")))
    else:
        yield from _sessions(source.text, "")


def _sessions(text: str, name: str) -> Iterator[Imported]:
    lines = text.replace("\r\n", "\n").split("\n")
    session = _Session(name, 0)
    for number, line in enumerate(lines):
        if started := _START.match(line):
            yield from session.conversation()
            session = _Session(name, number)
            session.draft.since(seconds(started[1]))
        else:
            session.take(line, number)
    yield from session.conversation()


class _Session:
    def __init__(self, name: str, number: int) -> None:
        self.draft = Draft(NAME)
        self.draft.keep(source=name)
        self._role: Role | None = None
        self._lines: list[str] = []
        self._begun = number
        self._fence = ""
        self._told = 0
        """Lines of the program."""

    def conversation(self) -> Iterator[Imported]:
        """What was said until now."""
        self._close()
        if self._told:
            detail = f"{self._told} lines of the program"
            self.draft.note(RepairKind.UNKNOWN_RECORD, self._begun, detail)
        made = self.draft.finish()
        if made is not None:
            yield made

    def take(self, line: str, number: int) -> None:
        """The next line."""
        role, said = self._speaker(line)
        if role is Role.TOOL:
            self._told += 1
            if model := _MODEL.match(line):
                self.draft.model = f"aider:{model[1]}"
            return
        if role is not self._role:
            self._close()
            self._role, self._begun = role, number
        self._lines.append(said)
        if role is Role.ASSISTANT:
            self._note_fence(line)

    def _speaker(self, line: str) -> tuple[Role, str]:
        is_written = line.endswith("  ")
        if line.startswith(_ASKED + " ") or line.rstrip() == _ASKED:
            if is_written or not self._fence:
                return Role.USER, line[len(_ASKED) + 1 :].rstrip()
        elif line.startswith(_TOLD) and (is_written or not self._fence):
            return Role.TOOL, ""
        return Role.ASSISTANT, line

    def _note_fence(self, line: str) -> None:
        fence = _FENCE.match(line)
        if not self._fence and fence:
            self._fence = fence[1]
        elif self._fence and line.strip() == self._fence:
            self._fence = ""

    def _close(self) -> None:
        text = "\n".join(self._lines).strip("\n")
        if self._role is not None and text.strip():
            of = Message(self._role, ())
            if self._role is Role.ASSISTANT:
                of = Message(self._role, (), model=self.draft.model)
            self.draft.say(self._role, (Text(text),), self._begun, of=of)
        self._role, self._lines, self._fence = None, [], ""
