"""`/offline`: what works while no model can be reached, and how its providers are doing."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from palaver.cli.safe import one_line
from palaver.cli.screen import Screen
from palaver.cli.session import ChatSession
from palaver.cli.slash import Command
from palaver.cli.tables import age, table, terminal_width
from palaver.cli.words import seconds, tokens
from palaver.domain.errors import InvalidInput

if TYPE_CHECKING:
    from palaver.recovery.degradation import DegradedConversationState
    from palaver.recovery.manager import ErrorRecoveryManager
    from palaver.service.offline import OfflineCapabilities

SUBCOMMANDS = (
    ("on", "answer offline when no model can be reached"),
    ("off", "keep what cannot be sent, and send it later"),
    ("summary", "what was said, in its own words"),
    ("topics", "what this conversation is about"),
    ("numbers", "messages, tokens and tools, counted"),
    ("search", "find words in this conversation"),
)


async def _offline(chat: ChatSession, screen: Screen, rest: str) -> None:
    word, _, words = rest.partition(" ")
    match word:
        case "":
            screen.print(await _standing(chat))
        case "on" | "off" if not words:
            chat.on_unreachable = "offline" if word == "on" else "queue"
            screen.print(_mode(chat))
        case "summary" | "topics" | "numbers" if not words:
            screen.print(await _analysed((await chat.current()).offline, word))
        case "search" if words.strip():
            screen.print(await _found((await chat.current()).offline, words))
        case _:
            named = ", ".join(name for name, _ in SUBCOMMANDS)
            raise InvalidInput(f"say /offline, or with one of: {named}")


async def _standing(chat: ChatSession) -> str:
    conversation = await chat.current()
    recovery = chat.manager.recovery
    tools = [definition.name for definition in conversation.offline.tools]
    works = [
        f"tools       {one_line(', '.join(tools), 100) if tools else '(none)'}",
        "answers     what was asked before is answered as it was then, with /offline on",
        "analysis    /offline summary, topics, numbers, search WORDS",
    ]
    parts = [
        _service(conversation.degraded),
        _mode(chat),
        "",
        "without any provider:",
        *(f"  {line}" for line in works),
        *_breakers(recovery),
        *_errors(recovery),
    ]
    return "\n".join(parts)


def _service(state: "DegradedConversationState") -> str:
    if state.error is None:
        return "service: all of it"
    left = state.retry_after_s
    again = f"in {seconds(left)}" if left >= 1 else "with your next message"
    why = one_line(state.error.message, 200)
    since = age(time.time() - state.since)
    name = str(state.level).replace("_", " ")
    return f"service: {name} ({since}): {why}\nthe model is tried again {again}"


def _mode(chat: ChatSession) -> str:
    if chat.on_unreachable == "offline":
        return "when no model can be reached: an earlier answer, else the offline responder"
    return (
        "when no model can be reached: what you say is kept, and sent later (/offline on: answer)"
    )


def _breakers(recovery: "ErrorRecoveryManager") -> list[str]:
    """Who is left alone, what failed in the last minute, and what may be repeated."""
    budgets = recovery.budgets()
    rows = [
        (
            one_line(reading.name, 60),
            str(reading.state).replace("_", " "),
            f"{reading.failures} of {reading.calls}",
            seconds(reading.retry_after_s) if reading.retry_after_s else "",
            f"{budgets[reading.name]:.0%}" if reading.name in budgets else "",
            reading.last_error,
        )
        for reading in recovery.readings()
    ]
    head = ("breaker", "state", "failed", "tried in", "retries left", "last error")
    return ["", table(head, rows, width=terminal_width())] if rows else []


def _errors(recovery: "ErrorRecoveryManager") -> list[str]:
    report = recovery.report()
    if not report.failures:
        return []
    kinds = ", ".join(f"{kind} {count}" for kind, count in report.by_kind.items())
    lines = ["", f"last hour: {report.failures} of {report.calls} requests failed: {kinds}"]
    for example in report.examples[:3]:
        when = age(time.time() - example.at)
        lines.append(f"  {when}, {one_line(example.model, 60)}: {_short(example.error.message)}")
    return lines


def _short(text: str) -> str:
    return one_line(text, 160)


async def _analysed(offline: "OfflineCapabilities", what: str) -> str:
    if what == "summary":
        return await offline.summary() or "nothing was said yet"
    if what == "topics":
        return "\n".join(await offline.topics()) or "nothing was said yet"
    counted = await offline.statistics()
    said = ", ".join(f"{count} {role}" for role, count in counted.messages.items()) or "none"
    called = ", ".join(f"{name} {count}" for name, count in counted.tools.items())
    return "\n".join(
        [
            f"messages: {said}; about {tokens(counted.tokens)} tokens",
            f"tools: {counted.tool_requests} calls, {counted.tool_failures} failed"
            + (f" ({one_line(called, 120)})" if called else ""),
            f"topics: {counted.topics}",
        ]
    )


async def _found(offline: "OfflineCapabilities", words: str) -> str:
    hits = await offline.search(words)
    lines = [f"{hit.role}: {one_line(hit.snippet, 200)}" for hit in hits]
    return "\n".join(lines) or "nothing was found"


async def _choices(chat: ChatSession, given: str) -> Sequence[tuple[str, str]]:
    return SUBCOMMANDS


COMMANDS = (
    Command(
        "/offline",
        "[on | off | summary | topics | numbers | search WORDS]",
        "what works without a model, and how its provider is",
        _offline,
        _choices,
    ),
)
