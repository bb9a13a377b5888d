"""What the offline responder says. It never passes for a language model."""

import re
from collections.abc import Sequence

from palaver.domain.messages import File, Image, Message, Role, ToolCall, ToolResult
from palaver.providers.base import ToolSpec
from palaver.providers.offline_calls import KINDS, kind_of
from palaver.providers.offline_history import mentions, summary

_SHOWN = 6_000
"""Characters of a tool's result that are shown; all of it is in the tool's card and in the log."""

_I = re.IGNORECASE
_SUMMARY = re.compile(
    r"\b(?:summari[sz]e|sum\s+up|recap|summary\s+of)\b(?!.*https?://)"
    r"(?:.*\b(?:this|our|the|we|us|conversation|chat|discussion|so\s+far)\b|\s*[.?!]*\s*$)|^\s*tl;?dr",
    _I,
)  # fmt: skip
_MENTIONS = re.compile(
    r"\b(?:what|when|where)\s+did\s+(I|we|you)\s+(?:say|write|tell\s+\w+|mention|ask|talk|discuss|decide)"
    r"(?:\s+(?:about|regarding|on|of|for))?\s+(.+?)\s*(?:in\s+this\s+(?:chat|conversation))?\s*[?.!]*\s*$"
    r"|\bdid\s+(I|we|you)\s+(?:already\s+)?(?:say|mention|talk\s+about|discuss)\s+"
    r"(?:anything\s+about\s+)?(.+?)\s*[?.!]*\s*$",
    _I,
)  # fmt: skip
_KEY = re.compile(
    r"\b(?:api|access)[\s_-]*keys?\b|\bset\s+up\b|\bconfigure\b|\bconnect\b.*\bmodel\b|_API_KEY\b"
    r"|\b(?:real|other|better)\s+(?:model|llm|ai)\b",
    _I,
)
_HELP = re.compile(
    r"^\W*(?:help|\?|commands?)\W*$|\bwhat\s+can\s+(?:you|i)\s+do\b|\bhow\s+do\s+you\s+work\b", _I
)
_WHO = re.compile(
    r"\b(?:who|what)\s+are\s+you\b|\bare\s+you\s+(?:an?\s+)?(?:ai|llm|robot|bot|human|person|model"
    r"|language\s+model|chatgpt|claude|gpt\S*|real)\b|\bwhich\s+model\b|\bwhat\s+model\b|\byour\s+name\b",
    _I,
)  # fmt: skip
_THANKS = re.compile(
    r"^\W*(?:thanks?|thank\s+you|thx|cheers|merci|danke|gracias|takk|grazie|obrigad[oa]|谢谢|ありがとう\S*)\b.{0,20}$",
    _I,
)
_GREETING = re.compile(
    r"^\W*(?:hi|hello|hey|yo|howdy|greetings|good\s+(?:morning|afternoon|evening|day)|hola|bonjour|salut"
    r"|hallo|guten\s+(?:tag|morgen|abend)|moin|servus|ciao|buongiorno|ol[áa]|hei|hej|god\s+dag|hoi|cześć"
    r"|dzień\s+dobry|ahoj|szia|привет|здравствуйте?|привіт|γεια\S*|merhaba|selam|שלום|مرحبا\S*|السلام\S*"
    r"|नमस्ते|สวัสดี\S*|xin\s+chào|你好|您好|こんにちは|おはよう\S*|안녕\S*)(?:\W+\S+){0,3}\W*$",
    _I,
)  # fmt: skip

_NO_MODEL = "I am Palaver's offline responder, not a language model."
KEY_HELP = (
    "To talk to a language model, set a key and start again: `export ANTHROPIC_API_KEY=…` or "
    "`export OPENAI_API_KEY=…`. `palaver doctor` shows what is configured and what is missing."
)
STANDS_IN = "No model can be reached now; the offline responder answers."
ASK_AGAIN = "Ask again when the model can be reached: then it answers."
_EXAMPLES = {
    "calculate": "calculate: `what is 17*23?`",
    "time": "tell the time: `what time is it in Tokyo?`",
    "read_file": "read a file: `read README.md`",
    "list_files": "list files: `list files`",
    "search_files": "search files: `search for 'TODO' in files`",
    "fetch": "fetch a page: `fetch https://example.org`",
    "search_conversations": "search earlier conversations: `search my conversations for Oslo`",
}


def local(text: str, messages: Sequence[Message]) -> str | None:
    """An answer from the conversation alone; `text` is its last message. None where it asks for
    something else.
    """
    if match := _MENTIONS.search(text):
        who, about = match[1] or match[3], (match[2] or match[4]).strip(" \"'“”")
        role = {"i": Role.USER, "you": Role.ASSISTANT}.get(who.lower())
        return mentions(messages[:-1], about, role=role)
    return summary(messages[:-1]) if _SUMMARY.search(text) else None


def small_talk(text: str, tools: Sequence[ToolSpec], *, advice: str = KEY_HELP) -> str | None:
    """An answer about the responder itself, or to a greeting; None where the text is neither.
    `advice`: how to come to a language model."""
    if _KEY.search(text):
        return f"{_NO_MODEL} {advice}"
    if _HELP.search(text) or _WHO.search(text):
        return f"{_NO_MODEL} {_abilities(tools)}\n\n{advice}"
    if _THANKS.match(text):
        return "You are welcome."
    if _GREETING.match(text):
        return f"Hello! {_NO_MODEL} {_abilities(tools)}\n\n{advice}"
    return None


def cannot(message: Message | None, tools: Sequence[ToolSpec], *, advice: str = KEY_HELP) -> str:
    """The honest answer to everything else."""
    blocks = () if message is None else message.content
    seen = "look at pictures" if any(isinstance(b, Image) for b in blocks) else "answer that"
    if any(isinstance(b, File) for b in blocks):
        seen = "read attachments"
    return f"I cannot {seen}: {_NO_MODEL} {_abilities(tools)}\n\n{advice}"


def report(calls: Sequence[ToolCall], results: Sequence[ToolResult]) -> str:
    """What the tools gave, in the order of the calls."""
    by_id = {call.id: call for call in calls}
    return "\n\n".join(_reported(by_id.get(result.call_id), result) for result in results)


def _abilities(tools: Sequence[ToolSpec]) -> str:
    kinds = list(dict.fromkeys(kind for tool in tools if (kind := kind_of(tool.name))))
    lines = [_EXAMPLES[kind] for kind in KINDS if kind in kinds]
    others = [tool.name for tool in tools if not kind_of(tool.name)]
    lines += [
        "summarise this conversation by picking sentences: `summarise this conversation`",
        "find what was said: `what did I say about the budget?`",
    ]
    if others:
        named = ", ".join(f"`{name}`" for name in others[:12])
        lines.append(f"call a tool by name: `use {others[0]} with …` (also here: {named})")
    return "Here I can\n\n" + "\n".join(f"- {line}" for line in lines)


def _reported(call: ToolCall | None, result: ToolResult) -> str:
    text = result.text.strip()
    about = _about(call)
    if result.unknown:
        return f"`{result.name}` was interrupted: it may or may not have done its work. {text}"
    if result.failed:
        return f"`{result.name}` failed: {text or 'it gave no reason.'}"
    pictures = sum(isinstance(part, Image | File) for part in result.content)
    if pictures:
        text = f"{text}\n\n({pictures} attachment{'s' if pictures > 1 else ''})".strip()
    kind = kind_of(result.name)
    if not text:
        return f"`{result.name}` finished without output."
    if "\n" not in text and len(text) <= 300:
        if kind == "calculate" and about and "=" not in text:
            return f"{about} = {text}"
        if kind == "time":
            return f"{about}: {text}" if about and about not in text else f"It is {text}."
        return f"`{result.name}`{f' ({about})' if about else ''}: {text}"
    heading = f"`{result.name}`{f' ({about})' if about else ''}:"
    return f"{heading}\n\n{_block(text, as_is=kind in ('fetch', 'search_conversations'))}"


def _about(call: ToolCall | None) -> str:
    if call is None:
        return ""
    try:
        arguments = call.parsed()
    except ValueError:
        return ""
    texts = [value for value in arguments.values() if isinstance(value, str)]
    return texts[0][:200].replace("\n", " ") if texts else ""


def _block(text: str, *, as_is: bool) -> str:
    shown = text[:_SHOWN]
    more = f"\n\n({len(text) - _SHOWN:,} more characters)" if len(text) > _SHOWN else ""
    if as_is:
        return shown + more
    # A fence must be longer than any run of backticks within it.
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{shown}\n{fence}{more}"
