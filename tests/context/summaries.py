"""Scripted writers of summaries, and conversations for them."""

from collections.abc import Callable, Iterator

from palaver.context.draft import Task
from palaver.context.summary import SummaryAnswer, SummaryRequest
from palaver.context.tokens import message_tokens
from palaver.domain.history import History
from palaver.domain.ids import CallId, MessageId
from palaver.domain.messages import Message, Role, StopReason, Text, ToolCall, ToolResult
from palaver.domain.values import ErrorInfo, Usage

SPENT = Usage(input=100, output=10)
GOOD = (
    "## Goal\nThe parser of the shop is to be fixed [m1]\n"
    "## Progress\n- Done: file_4.py was read and the parser looked at [m6, m7]\n"
    "- Open: file_8.py has the parser's second half [m10]\n"
    "## Next step\nRun the tests of the parser [m9]"
)
Reply = str | SummaryAnswer | Callable[[SummaryRequest], SummaryAnswer]


def count(message: Message) -> int:
    """Tokens of one message."""
    return message_tokens(message).total


def failure(code: str) -> SummaryAnswer:
    """An answer that is an error."""
    return SummaryAnswer(error=ErrorInfo(code, f"{code} happened"), usage=SPENT)


def stopped(stop: StopReason, text: str = "") -> SummaryAnswer:
    """An answer that ended for this reason."""
    return SummaryAnswer(text=text, stop=stop, usage=SPENT)


class Writer:
    """Answers with `replies` in turn, the last one again and again; remembers what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.asked: list[SummaryRequest] = []
        self._replies = replies

    async def __call__(self, request: SummaryRequest) -> SummaryAnswer:
        reply = self._replies[min(len(self.asked), len(self._replies) - 1)]
        self.asked.append(request)
        if isinstance(reply, str):
            return SummaryAnswer(text=reply, usage=SPENT, model="test:writer")
        return reply if isinstance(reply, SummaryAnswer) else reply(request)


def work(turns: int, *, words: int = 40) -> Iterator[Message]:
    """A user who asks for work on files, an assistant who reads them with a tool."""
    for i in range(turns):
        at = 4 * i
        if i:
            yield Message.user(f"Now look at the parser in file_{at}.py.", id=f"u{i}")
        else:
            yield Message.user("Fix the parser of the shop. Never rename a table.", id="u0")
        call = ToolCall(CallId(f"c{i}"), "read_file", f'{{"path":"src/file_{at}.py"}}')
        yield Message(Role.ASSISTANT, (Text("I read it."), call), MessageId(f"a{i}"))
        said = (
            f"def parse_{at}(): # parser code\n" + f"    value_{at} = shop.line(parser)\n" * words
        )
        result = ToolResult(CallId(f"c{i}"), "read_file", (Text(said),))
        yield Message(Role.TOOL, (result,), MessageId(f"a{i}.results"))
        yield Message.assistant(f"The parser in file_{at}.py reads lines of the shop.", id=f"b{i}")


def task(messages: list[Message], share: float = 0.5, **changes: object) -> Task:
    """A task that is to leave this share of the messages' tokens."""
    target = round(share * sum(map(count, messages)))
    fields: dict[str, object] = {"target": target, "count": count, **changes}
    return Task(messages=History(messages), **fields)  # type: ignore[arg-type]
