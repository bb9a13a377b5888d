"""What a response says of itself, beside what it says.

A turn that calls its client's tools gives several responses: one up to each suspension, and the
last to its end. A response is named after its turn, from the second on with the number of the part,
so that nothing has to be kept to find it again. What its client said about it alone (metadata, and
what it continues) is noted with the conversation's metadata before the turn begins, so that the log
holds it; all else follows from the log.
"""

import re
from typing import Any

import msgspec

from palaver.domain.errors import NotFound
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.values import ClientTool, OutputSchema, UserPreferences
from palaver.server.v1.responses_shapes import (
    AnsweredTool,
    ConversationRef,
    IncompleteReason,
    OutputItem,
    ResponseFailure,
    ResponseObject,
    ResponseUsage,
)

NOTE = "openai_response"
"""The name in the conversation's metadata under which a client's words on a response are."""
_ID = re.compile(r"resp_([0-9a-z]{1,64})(?:_([1-9][0-9]{0,5}))?")
_EFFORTS = {"off": "none", "low": "low", "medium": "medium", "high": "high"}


class Part(msgspec.Struct, frozen=True):
    """A part of a turn, from 1: what lies between two results of the client."""

    turn: TurnId
    number: int = 1

    @property
    def name(self) -> str:
        """What all its ids have in common."""
        turn = self.turn.partition("_")[2]
        return turn if self.number == 1 else f"{turn}_{self.number}"

    @property
    def id(self) -> str:
        """The response's id."""
        return f"resp_{self.name}"

    @classmethod
    def of(cls, id: str) -> "Part":
        """The part that a response's id names. Raises NotFound."""
        found = _ID.fullmatch(id)
        if found is None:
            raise NotFound(f"no response {id[:80]!r}")
        return cls(TurnId(f"turn_{found[1]}"), int(found[2] or 1))


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client said about a response alone."""

    metadata: dict[str, str] = {}
    previous: str | None = None
    background: bool = False
    truncation: str = "disabled"

    def encoded(self) -> str:
        """As it stands in metadata; nothing where nothing was said."""
        return "" if self == Note() else msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str) -> "Note":
        """The same from metadata."""
        try:
            return msgspec.json.decode(text or "{}", type=cls)
        except msgspec.DecodeError:
            return cls()  # somebody else wrote there


class About(msgspec.Struct, frozen=True, kw_only=True):
    """All that is the same in every state of a response."""

    part: Part
    created_at: int
    model: str
    preferences: UserPreferences
    tools: tuple[ClientTool, ...] = ()
    output: OutputSchema | None = None
    note: Note = Note()
    conversation: ConversationId | None = None
    """None: it is not kept."""

    def response(
        self,
        status: str,
        output: tuple[OutputItem, ...] = (),
        *,
        usage: ResponseUsage | None = None,
        error: ResponseFailure | None = None,
        incomplete: str = "",
    ) -> ResponseObject:
        """The response in a state."""
        chosen = self.preferences.generation
        effort = None if chosen.reasoning is None else _EFFORTS[chosen.reasoning]
        held = self.conversation
        return ResponseObject(
            id=self.part.id,
            created_at=self.created_at,
            status=status,
            model=self.model,
            background=self.note.background,
            error=error,
            incomplete_details=IncompleteReason(incomplete) if incomplete else None,
            instructions=self.preferences.system or None,
            max_output_tokens=chosen.max_tokens,
            output=output,
            previous_response_id=self.note.previous,
            conversation=None if held is None else ConversationRef(held),
            reasoning={"effort": effort, "summary": None},
            store=held is not None,
            temperature=chosen.temperature,
            text={"format": _format(self.output)},
            tool_choice=_choice(chosen.tool_choice),
            tools=tuple(_tool(tool) for tool in self.tools),
            top_p=chosen.top_p,
            truncation=self.note.truncation,
            usage=usage,
            metadata=self.note.metadata,
        )


def _format(output: OutputSchema | None) -> dict[str, Any]:
    if output is None:
        return {"type": "text"}
    return {"type": "json_schema", "name": output.name, "schema": output.schema, "strict": False}


def _choice(choice: str) -> str | dict[str, str]:
    if choice in ("", "auto", "none", "required"):
        return choice or "auto"
    return {"type": "function", "name": choice}


def _tool(tool: ClientTool) -> AnsweredTool:
    return AnsweredTool(tool.name, tool.parameters_schema, tool.description or None)
