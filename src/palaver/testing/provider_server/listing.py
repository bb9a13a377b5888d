"""What a provider answers when it is asked for its models."""

from collections.abc import Sequence


def models_body(names: Sequence[str], *, is_openai: bool) -> dict[str, object]:
    """The list in the provider's shape."""
    if is_openai:
        rows = [{"id": n, "object": "model", "created": 0, "owned_by": "palaver"} for n in names]
        return {"object": "list", "data": rows}
    since = "2025-01-01T00:00:00Z"
    listed = [{"type": "model", "id": n, "display_name": n, "created_at": since} for n in names]
    return {"data": listed, "has_more": False, "first_id": names[0], "last_id": names[-1]}
