"""Limits and capabilities of models, by name: what price lists do not say.

Sources: the providers' model pages. The first row whose pattern fits the beginning of a name
counts; a name that no row fits has unknown limits and is taken to do what is common today.
"""

import re

import msgspec


class ModelFacts(msgspec.Struct, frozen=True):
    """Numbers are tokens; None where unknown."""

    max_output: int | None = None
    window: int | None = None
    """Only where the price list has none or another."""
    tools: bool = True
    images: bool = True
    files: bool = True
    reasoning: bool = False
    structured_output: bool = True
    prefill: bool = False


def _claude(
    max_output: int | None,
    *,
    reasoning: bool = True,
    prefill: bool = False,
    structured: bool = True,
    files: bool = True,
) -> ModelFacts:
    return ModelFacts(
        max_output,
        reasoning=reasoning,
        prefill=prefill,
        structured_output=structured,
        files=files,
    )


def _old_claude(max_output: int, *, files: bool = True) -> ModelFacts:
    return _claude(max_output, reasoning=False, prefill=True, structured=False, files=files)


_THINKER = ModelFacts(128_000, reasoning=True)
_O_SERIES = ModelFacts(100_000, reasoning=True)
_GPT_4O = ModelFacts(16_384)
_TEXT_ONLY = ModelFacts(4_096, images=False, files=False, structured_output=False)

_ANTHROPIC: tuple[tuple[str, ModelFacts], ...] = (
    # Prefilling the answer is refused from 4.6 on.
    (r"claude-3-7-sonnet", _claude(64_000, prefill=True, structured=False)),
    (r"claude-3-5", _old_claude(8_192)),
    (r"claude-3-", _old_claude(4_096, files=False)),
    (r"claude-(opus-4-0|opus-4-2025|4-opus)", _claude(32_000, prefill=True, structured=False)),
    (r"claude-opus-4-1", _claude(32_000, prefill=True)),
    (r"claude-opus-4-5", _claude(64_000, prefill=True)),
    (r"claude-opus-4-[678]", _claude(128_000)),
    (r"claude-(sonnet-4-(0|2025)|4-sonnet)", _claude(64_000, prefill=True, structured=False)),
    (r"claude-(sonnet|haiku)-4-5", _claude(64_000, prefill=True)),
    (r"claude-sonnet-4-6", _claude(64_000)),
    (r"claude-[12]|claude-v1|claude-instant", _TEXT_ONLY),
    (r"claude", _claude(None)),
)  # fmt: skip

_OPENAI: tuple[tuple[str, ModelFacts], ...] = (
    (r"gpt-5[\d.]*-chat", ModelFacts(16_384, 128_000)),
    (r"gpt-5-pro", ModelFacts(272_000, reasoning=True)),
    (r"gpt-5(\.[1-5])?(-mini|-nano|-pro|-codex\S*)?(-20\S*)?$", _THINKER),
    (r"gpt-[5-9]", ModelFacts(reasoning=True)),
    (r"gpt-4\.1", ModelFacts(32_768)),
    (r"gpt-4\.5", ModelFacts(16_384, 128_000)),
    (r"gpt-4o-2024-05-13", ModelFacts(4_096, structured_output=False)),
    (r"gpt-4o|chatgpt-4o", _GPT_4O),
    (r"gpt-4-turbo|gpt-4-vision", ModelFacts(4_096, files=False, structured_output=False)),
    (r"gpt-4(-0|-32k|$)", ModelFacts(8_192, images=False, files=False, structured_output=False)),
    (r"gpt-3\.5", _TEXT_ONLY),
    (
        r"o1-(mini|preview)",
        ModelFacts(
            None, tools=False, images=False, files=False, reasoning=True, structured_output=False
        ),
    ),
    (r"o3-mini", ModelFacts(100_000, images=False, files=False, reasoning=True)),
    (r"o[1-9]", _O_SERIES),
    (r"gpt-oss", ModelFacts(None, images=False, files=False, reasoning=True)),
)
_TABLES = {"anthropic": _ANTHROPIC, "openai": _OPENAI}
_UNKNOWN = ModelFacts()

_NOT_CHAT = re.compile(
    r"audio|realtime|transcribe|tts|whisper|embed|image|moderation|search|computer|instruct|vision"
    r"|davinci|babbage|curie|^ada|^ft:|rerank|ocr|-live|deep-research|cyber|rosalind|guard"
)


def facts(provider: str, model: str) -> ModelFacts:
    """What is known about `model` of `provider` beside its price."""
    name = model.lower()
    rows = _TABLES.get(provider, ())
    return next((fact for pattern, fact in rows if re.match(pattern, name)), _UNKNOWN)


def is_chat(model: str) -> bool:
    """Whether a name of a price list is that of a model that one can talk to in text."""
    return _NOT_CHAT.search(model) is None
