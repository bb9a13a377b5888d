"""What can be wrong with a summary, told without a model.

A fault is a sentence that the writer of the summary can act on. Some answers are beyond repair: an
error, a refusal by the provider. What a summary names must stand in what it was written from;
models invent few names when they summarise (3 of 53 and 0 of 59 in real ones), so that more than
one in twenty tells of rubbish.
"""

import re
from collections.abc import Sequence

import msgspec

from palaver.context.citations import cut
from palaver.context.identifiers import identifiers
from palaver.context.summary import SummaryAnswer
from palaver.context.summary_prompt import SECTIONS
from palaver.context.tokens import text_tokens
from palaver.domain.messages import StopReason

_LISTED = 12
_REPETITIVE = 0.5
_LONG_ENOUGH = 8
"""Lines from which repetition says something."""
_REFUSAL = re.compile(
    r"\W*(?:i(?:'m| am) (?:sorry|unable|not able)|sorry"
    r"|i (?:can(?:no|')t|won't|must decline)|as an ai"
    r"|es tut mir leid|ich kann nicht|je suis désolé|je ne peux pas|lo siento|no puedo"
    r"|desculpe|извините|к сожалению|我无法|我不能|抱歉|对不起|申し訳|できません|죄송|آسف|माफ़)",
    re.IGNORECASE,
)
_REFUSAL_CHARS = 600
_HEADING = re.compile(r"^#{1,4} +\S", re.MULTILINE)
_HANDLE = re.compile(r"m[1-9]\d*")


class Verdict(msgspec.Struct, frozen=True):
    """What is wrong with an answer; nothing when it can be used."""

    faults: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    """Identifiers that are not in the source."""
    is_final: bool = False
    """Whether asking again is of no use."""

    @property
    def is_good(self) -> bool:
        """Whether the answer can be used."""
        return not self.faults


class Source:
    """The text that a summary was written from, asked whether it holds a name."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._text = "\n".join(texts)
        self._folded = ""

    def holds(self, name: str) -> bool:
        """Whether `name` is in it, or each part of a `file:line`, a `key=value` or a pair of words
        with a slash, which people and models write when they mean both."""
        if name in self._text:
            return True
        self._folded = self._folded or self._text.casefold()
        bare = name.casefold().strip("/.")
        if bare in self._folded:
            return True
        pieces = _JOINTS.split(bare)
        if len(pieces) == 1 and "." not in bare and bare.count("/") == 1:
            pieces = bare.split("/")
        return len(pieces) > 1 and all(piece in self._folded for piece in pieces)


_JOINTS = re.compile("[:=,#]+")


def verdict(answer: SummaryAnswer, source: Source, *, most: int, unsupported: float) -> Verdict:
    """What is wrong with `answer`. `most`: tokens that it may have; `unsupported`: the share of its
    identifiers that may be new."""
    if answer.error is not None:
        return Verdict((f"the model failed: {answer.error.message}",), is_final=True)
    if answer.stop in (StopReason.REFUSAL, StopReason.CONTENT_FILTER):
        return Verdict(("the model declined",), is_final=True)
    text = answer.text.strip()
    if not text:
        return Verdict((_nothing(answer),))
    if answer.stop in (StopReason.MAX_TOKENS, StopReason.CONTEXT_FULL):
        return Verdict(("It broke off before its end; write less.",))
    faults = list(_shape(text, most))
    unknown, known = names(text, source)
    if unknown and len(unknown) > unsupported * (len(unknown) + known):
        listed = ", ".join(unknown[:_LISTED])
        faults.append(f"These names are not in the history; leave them out or copy them: {listed}")
    return Verdict(tuple(faults), tuple(unknown))


def names(text: str, source: Source) -> tuple[list[str], int]:
    """The identifiers of `text` that are not in the source, and how many are."""
    said = "\n".join(cut(line)[0] for line in text.splitlines())
    every = [name for name in identifiers(said) if not _HANDLE.fullmatch(name)]
    unknown = [name for name in every if not source.holds(name)]
    return unknown, len(every) - len(unknown)


def without(text: str, unknown: Sequence[str]) -> str:
    """`text` without the lines that name what is unknown; empty when little would be left."""
    lines = text.splitlines()
    left = [line for line in lines if not any(name in line for name in unknown)]
    return "\n".join(left) if len(left) >= 0.7 * len(lines) else ""


def _nothing(answer: SummaryAnswer) -> str:
    if answer.has_reasoned or answer.stop is StopReason.MAX_TOKENS:
        return "It was all reasoning and no text; think less and write the summary."
    return "It was empty."


def _shape(text: str, most: int) -> list[str]:
    faults = []
    if _REFUSAL.match(text) and len(text) < _REFUSAL_CHARS:
        return ["It declined; the task is only to write down what was said."]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    headings = len(_HEADING.findall(text)) or sum(name in text for name, _ in SECTIONS) > 1
    if not headings and not any(cut(line)[1] for line in lines):
        faults.append("It is no summary: it has neither the headings nor the handles asked for.")
    size = text_tokens(text)
    if size > most:
        faults.append(f"It is too long: {size} tokens, where {most} are the most that fit.")
    if len(lines) >= _LONG_ENOUGH and len(set(lines)) < _REPETITIVE * len(lines):
        faults.append("It says the same again and again.")
    return faults
