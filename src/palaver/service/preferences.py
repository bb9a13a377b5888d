"""Preferences changed by name, as people and programs give them."""

from typing import Any

import msgspec
from msgspec.structs import replace

from palaver.domain.errors import InvalidInput
from palaver.domain.values import GenerationSettings, UserPreferences

_GENERATION = frozenset(GenerationSettings.__struct_fields__)
_PREFERENCES = frozenset(UserPreferences.__struct_fields__) - {"generation"}


def changed_preferences(before: UserPreferences, changes: dict[str, Any]) -> UserPreferences:
    """`before` with `changes` by name; generation settings are named directly."""
    unknown = changes.keys() - _GENERATION - _PREFERENCES
    if unknown:
        known = ", ".join(sorted(_GENERATION | _PREFERENCES))
        raise InvalidInput(f"no preference is called {min(unknown)!r}; there are: {known}")
    generation = {k: v for k, v in changes.items() if k in _GENERATION}
    direct = {k: v for k, v in changes.items() if k in _PREFERENCES}
    after = replace(before, **direct, generation=replace(before.generation, **generation))
    try:
        return msgspec.convert(msgspec.to_builtins(after), UserPreferences)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from error
