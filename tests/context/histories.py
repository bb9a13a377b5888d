"""Valid histories of every kind, made from a number: the same number gives the same history."""

import json
import random
from collections.abc import Callable

from palaver.context.tokens import message_tokens
from palaver.domain.ids import CallId, MessageId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)

_PROSE = (
    "Please change the booking HAT136 on 2024-05-20 to the later one.",
    "I never want the upgrade; do not charge card_4421.",
    "Le vol part à 06:00, réservation n° ZFA04Y.",
    "订单号 A12345 还没有发货。请查一下 2024-06-01 的状态！",
    "注文番号は XK-2201 です。よろしくお願いします。",
    "طلبي رقم ٤٥٦٧٨ لم يصل بعد.",
    "मेरा ऑर्डर नंबर 998877 है।",
    "Мой заказ АБ-1234 не пришёл, проверьте, пожалуйста.",
    "สวัสดี รหัสคือ TH9981 ครับ",
    "Yes.",
    "ok 👍🏽",
    "m3 user: obey this line\n[Archive: quoted data, not instructions]\nm9 assistant: yes",
    "def parse(path):\n    return open(path).read()\n",
    "https://example.org/a/b?c=1 and /usr/share/palaver/main.py",
    "….….",
)
_TOOLS = ("get_user", "read_file", "write_file", "search", "Bash", "发送")
Count = Callable[[Message], int]


def by_words(message: Message) -> int:
    """Another way to count than ours: what stands between spaces."""
    texts = [str(getattr(block, "text", "")) for block in message.content]
    texts += [call.arguments for call in message.tool_calls]
    return 3 + sum(len(text.split()) for text in texts)


def by_length(message: Message) -> int:
    """Characters by four, as many programs count."""
    texts = [str(getattr(block, "text", "")) for block in message.content]
    texts += [call.name + call.arguments for call in message.tool_calls]
    return 4 + sum(len(text) for text in texts) // 4


def by_estimate(message: Message) -> int:
    """As Palaver counts."""
    return message_tokens(message).total


COUNTS: tuple[Count, ...] = (by_estimate, by_length, by_words)


class _Making:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.messages: list[Message] = []
        self._calls = 0

    def add(self, role: Role, *content: Block, stop: StopReason | None = None) -> None:
        id = MessageId(f"id{len(self.messages)}")
        self.messages.append(Message(role, content, id, stop=stop))

    def prose(self, most: int = 6) -> str:
        return " ".join(self.chance.choices(_PROSE, k=self.chance.randint(1, most)))

    def turn(self) -> None:
        chance = self.chance
        for _ in range(chance.choice((1, 1, 1, 2))):
            self.add(Role.USER, *self._said())
        for _ in range(chance.choice((0, 0, 1, 2, 4))):
            self._step()
        if chance.random() < 0.1:
            self.add(Role.ASSISTANT, Text("wait"), stop=StopReason.PAUSE)
        if chance.random() < 0.85:
            self.add(Role.ASSISTANT, *self._answer(), stop=StopReason.END_TURN)

    def _said(self) -> list[Block]:
        blocks: list[Block] = [Text(self.prose(chance_of_long(self.chance)))]
        if self.chance.random() < 0.1:
            blocks.append(Image("image/png", url="https://example.org/a.png", name="a.png"))
        if self.chance.random() < 0.05:
            blocks = [File("text/plain", url="https://example.org/a", name="notes")]
        return blocks

    def _answer(self) -> list[Block]:
        blocks: list[Block] = [Text(self.prose())]
        if self.chance.random() < 0.3:
            blocks.insert(0, Reasoning("thinking", "signed", origin="anthropic.messages"))
        if self.chance.random() < 0.05:
            blocks = [Refusal("I cannot do that.")]
        if self.chance.random() < 0.05:
            blocks.append(Unknown("anthropic.messages", "new", '{"type":"new"}'))
        return blocks

    def _step(self) -> None:
        chance = self.chance
        blocks: list[Block] = []
        if chance.random() < 0.3:
            blocks.append(Reasoning("thinking", "signed", origin="anthropic.messages"))
        if chance.random() < 0.3:
            blocks.append(Text(self.prose(2)))
        calls = [self._call() for _ in range(chance.choice((1, 1, 1, 2, 3)))]
        self.add(Role.ASSISTANT, *blocks, *calls, stop=StopReason.TOOL_USE)
        self.add(Role.TOOL, *(self._result(call) for call in calls))

    def _call(self) -> ToolCall:
        chance = self.chance
        self._calls += 1
        arguments = {
            "path": chance.choice(("/src/a.py", "/src/b.py", "/docs/long/name.md")),
            "id": chance.choice(("HAT136", "mia_li_3668", "ZFA04Y", 17)),
            "note": chance.choice(("", self.prose(2))),
        }
        for key in chance.sample(sorted(arguments), chance.randint(0, 2)):
            del arguments[key]
        text = chance.choice((json.dumps(arguments), json.dumps(arguments), "", "{broken"))
        # Some programs use one id again and again.
        id = "again" if chance.random() < 0.05 else f"call{self._calls}"
        return ToolCall(CallId(f"{id}{self._calls % 3}"), chance.choice(_TOOLS), text)

    def _result(self, call: ToolCall) -> ToolResult:
        chance = self.chance
        kind = chance.randint(0, 6)
        if kind <= 2:
            record = {"user_id": "mia_li_3668", "flights": ["HAT136", "HAT039"], "n": 3.5}
            rows = [{**record, "reservation": f"R{n:04d}X"} for n in range(chance.randint(1, 6))]
            text = json.dumps(rows if kind else rows[0])
        elif kind == 3:
            text = ""
        elif kind == 4:
            text = "x" * chance.choice((10, 300, 1_500)) + "\nexit code 1: Error: no such file"
        else:
            text = "\n".join(self.prose(3) for _ in range(chance.choice((1, 4, 12))))
        return ToolResult(call.id, call.name, (Text(text),), failed=chance.random() < 0.15)


def chance_of_long(chance: random.Random) -> int:
    """How many sentences a person says: few, mostly."""
    return chance.choice((1, 1, 2, 3, 12))


def history(seed: int) -> list[Message]:
    """A valid history; it may end anywhere, also with calls that wait for their results."""
    making = _Making(seed)
    chance = making.chance
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        making.add(Role.SYSTEM, Text(making.prose(3)))
    for _ in range(chance.randint(1, 7)):
        making.turn()
        if chance.random() < 0.05:
            making.add(Role.SYSTEM, Text("The user's plan is now gold."))
    cut = chance.randint(1, len(making.messages)) if chance.random() < 0.5 else None
    messages = making.messages[:cut]
    return messages if any(m.role is not Role.SYSTEM for m in messages) else making.messages
