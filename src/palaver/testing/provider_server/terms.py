"""What a server knows when it judges a request: its keys, models, window, and what it issued."""

import functools
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from palaver.testing.provider_server.proofs import Proofs
from palaver.testing.provider_server.refusal import bad

_FAMILIES = re.compile(r"claude-|gpt-|o\d|chatgpt-")
_REASONING = re.compile(r"o\d|gpt-5")
_KEPT = 100_000


class Issued:
    """The newest 100,000 ids that were given out, each with a note."""

    def __init__(self) -> None:
        self._notes: OrderedDict[str, str] = OrderedDict()

    def note(self, id: str, note: str) -> None:
        """Remember `id`."""
        self._notes[id] = note
        if len(self._notes) > _KEPT:
            self._notes.popitem(last=False)

    def get(self, id: object) -> str | None:
        """The note of `id`, None where it was not issued here."""
        return self._notes.get(id) if isinstance(id, str) else None


class Terms(msgspec.Struct, frozen=True):
    """See ProviderServer for the fields."""

    proofs: Proofs
    key: str | None = None
    models: frozenset[str] | None = None
    window: int = 200_000
    prefill: bool = False
    thought_calls: Issued = msgspec.field(default_factory=Issued)
    """Anthropic call ids that came behind thinking in one answer."""
    items: Issued = msgspec.field(default_factory=Issued)
    """Responses item ids; the note names the reasoning item right before, or is empty."""

    def knows(self, model: str) -> bool:
        """Whether there is such a model; without a list, any name of a known family."""
        if self.models is not None:
            return model in self.models
        return _FAMILIES.match(model) is not None

    def accepts(self, key: str) -> bool:
        """Whether this API key is good; without a set one, any is."""
        return key == self.key if self.key is not None else bool(key)


def reasons(model: str) -> bool:
    """Whether an OpenAI model is one that thinks, and so refuses sampling parameters."""
    return _REASONING.match(model) is not None


def words(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())


def is_number(value: object) -> bool:
    """Whether this is a JSON number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Whether this is a JSON number without fraction."""
    return isinstance(value, int) and not isinstance(value, bool)


def repeated(values: Iterable[str]) -> str | None:
    """The first value that occurs twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def schema_problem(schema: object) -> str | None:
    """Why this is no JSON Schema (draft 2020-12), or None."""
    return _schema_problem(msgspec.json.encode(schema))


@functools.lru_cache(maxsize=1024)
def _schema_problem(encoded: bytes) -> str | None:
    # A conversation sends the same tools in each request; checking one takes milliseconds.
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(msgspec.json.decode(encoded))
    except jsonschema.SchemaError as error:
        return error.message
    return None


def strict_schema(schema: object, where: str, param: str, context: tuple[str, ...] = ()) -> None:
    """Refuse what OpenAI's strict mode refuses: open objects and optional properties."""
    if not isinstance(schema, Mapping):
        return
    properties = schema.get("properties")
    if schema.get("type") == "object" or properties is not None:
        _closed_object(schema, where, param, context)
    for name, inner in (properties or {}).items():
        strict_schema(inner, where, param, (*context, "properties", name))
    strict_schema(schema.get("items"), where, param, (*context, "items"))
    for inner in schema.get("anyOf") or ():
        strict_schema(inner, where, param, (*context, "anyOf"))
    for name, inner in (schema.get("$defs") or {}).items():
        strict_schema(inner, where, param, (*context, "$defs", name))


def _closed_object(
    schema: Mapping[str, Any], where: str, param: str, context: tuple[str, ...]
) -> None:
    head = f"Invalid schema for {where}: In context={context!r}, "
    if schema.get("additionalProperties") is not False:
        text = "'additionalProperties' is required to be supplied and to be false."
        bad(head + text, param=param, code="invalid_function_parameters")
    missing = [n for n in schema.get("properties") or () if n not in schema.get("required", ())]
    if missing:
        text = (
            "'required' is required to be supplied and to be an array including every key in "
            f"properties. Missing '{missing[0]}'."
        )
        bad(head + text, param=param, code="invalid_function_parameters")
