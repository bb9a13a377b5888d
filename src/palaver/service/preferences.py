"""Preferences changed by name, as people and programs give them."""

from typing import Any

import msgspec
from msgspec.structs import replace

from palaver.domain.errors import InvalidInput
from palaver.domain.text import clean
from palaver.domain.values import GenerationSettings, SessionMetadata, UserPreferences

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
        checked = msgspec.convert(msgspec.to_builtins(after), UserPreferences)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidInput(str(error)) from error
    return replace(checked, system=clean(checked.system)[0], language=clean(checked.language)[0])


def clean_metadata(metadata: SessionMetadata) -> SessionMetadata:
    """`metadata` as every store can hold it: titles and tags come from terminals and file names."""
    tags = (clean(tag.strip())[0] for tag in metadata.tags)
    return replace(
        metadata,
        title=clean(metadata.title.strip())[0],
        tags=tuple(dict.fromkeys(tag for tag in tags if tag)),
        custom={clean(k)[0]: clean(v)[0] for k, v in metadata.custom.items()},
    )
