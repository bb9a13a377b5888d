"""What code adds to a summary that a model wrote: what must not depend on a model.

The user's constraints and corrections in their own words, decisions and errors that the summary
does not speak of, and the names that calls will need again. Every line has its exact source.
"""

from collections.abc import Collection, Iterator, Sequence

import msgspec

from palaver.context.analysis import ConversationAnalysis, ToolUse
from palaver.context.citations import Lined
from palaver.context.handles import handle
from palaver.context.tokens import text_tokens
from palaver.domain.compaction import CriticalFact
from palaver.domain.messages import Message

_VERBATIM = ("constraint", "correction")
_ERROR_CHARS = 200
_LINE_TOKENS = 8
"""Of a line beside what it says: its dash, its kind, its handle."""


class Appendix(msgspec.Struct, frozen=True):
    """What may be added to a summary of the messages at `positions`."""

    analysis: ConversationAnalysis
    messages: Sequence[Message]
    positions: Collection[int]

    def needed(self, summary: str) -> Lined:
        """What `summary` must not go without."""
        return _section("## In the user's words", list(self._statements(summary))) + _section(
            "## Errors not yet resolved", list(self._errors())
        )

    def names(self, before: str, *, room: int) -> Lined:
        """The names that are likely to be needed and are not in `before`, in `room` tokens."""
        return _section("## Names", list(self._names(before, room)))

    def _statements(self, summary: str) -> Iterator[tuple[str, int]]:
        newest: dict[str, CriticalFact] = {}
        for fact in self.analysis.critical.statements:
            if fact.position in self.positions:
                newest.pop(fact.text, None)
                newest[fact.text] = fact
        for fact in newest.values():
            text = " ".join(fact.text.split())
            if fact.kind in _VERBATIM or text not in summary:
                yield f"- {fact.kind.capitalize()}: “{text}”", fact.position

    def _errors(self) -> Iterator[tuple[str, int]]:
        for use in self.analysis.critical.unresolved_errors:
            if use.answered is not None and use.answered in self.positions:
                yield f"- {error_line(use, self.messages)}", use.answered

    def _names(self, before: str, room: int) -> Iterator[tuple[str, int]]:
        left = room - _LINE_TOKENS
        by_position: dict[int, list[str]] = {}
        for known in self.analysis.identifiers:
            name, position = known.text, known.last
            if not known.is_likely or position not in self.positions or name in before:
                continue
            left -= text_tokens(name) + (1 if position in by_position else _LINE_TOKENS)
            if left < 0:
                break
            by_position.setdefault(position, []).append(name)
        for position in sorted(by_position):
            yield f"- {', '.join(by_position[position])}", position


def quoted_tokens(analysis: ConversationAnalysis, messages: Sequence[Message]) -> dict[int, int]:
    """By position the tokens of what is quoted of it behind a summary."""
    critical = analysis.critical
    quoted = [(fact.position, fact.text) for fact in critical.statements]
    quoted += [
        (use.answered, error_line(use, messages))
        for use in critical.unresolved_errors
        if use.answered is not None
    ]
    found: dict[int, int] = {}
    for position, text in quoted:
        found[position] = found.get(position, 0) + text_tokens(text) + _LINE_TOKENS
    return found


def error_line(use: ToolUse, messages: Sequence[Message]) -> str:
    """A failed call in one line: the tool, its arguments, what it said."""
    said = ""
    if use.answered is not None:
        results = messages[use.answered].tool_results
        said = next((r.text for r in results if r.call_id == use.call_id), "")
    arguments = " ".join(use.arguments.split())[:_ERROR_CHARS]
    return f"{use.name} {arguments} failed: {' '.join(said.split())[:_ERROR_CHARS]}".rstrip(": ")


def _section(heading: str, lines: Sequence[tuple[str, int]]) -> Lined:
    if not lines:
        return Lined("", ())
    text = "\n".join([heading, *(f"{line} [{handle(at)}]" for line, at in lines)])
    return Lined(text, ((), *((at,) for _, at in lines)))
