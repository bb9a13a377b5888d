"""Has a model write a summary, and takes nothing from it that was not looked at.

    fits one request     write → look → (repair → look)
    does not             notes on each part → write from the notes → look → (repair → look)

A request that overflows the writer's window after all is made anew with half the room. Every
request is counted, also those that led to nothing. There are at most `MOST_REQUESTS`.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from palaver.context import summary_prompt as prompts
from palaver.context.groups import Group
from palaver.context.summary import Limits, Purpose, Summariser, SummaryAnswer, SummaryRequest
from palaver.context.summary_faults import Source, Verdict, names, verdict, without
from palaver.context.summary_input import parts
from palaver.context.tokens import text_tokens
from palaver.domain.errors import ContextOverflow, ContextWindowExceeded
from palaver.domain.messages import Message, StopReason
from palaver.domain.values import Usage

MOST_REQUESTS = 20
_UNKNOWN_WINDOW = 60_000
"""Tokens, where the writer's window is not known; a smaller one says so by its error."""
_LEAST_ROOM = 500
_SAFETY = 1.15
"""Our counts are estimates; the writer's may be this much higher."""
_THINKING = 2
"""Times the length of the summary that the answer may take, as reasoning counts as output."""
_LEAST_OUTPUT = 1_024
_HALVINGS = 2
_OVERFLOWS = (ContextOverflow.code, ContextWindowExceeded.code)
_WORDS = 0.6
"""Words for each token, handles and headings included."""
_CUT_AWAY = 0.2
"""Share of unsupported names up to which the lines that hold them are cut away by code."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A summary to be written."""

    messages: Sequence[Message]
    groups: Sequence[Group]
    """Of `messages` those to be summarised."""
    previous: str = ""
    """The record of what came before them."""
    emphasis: str = ""
    instructions: str = ""
    allowance: int = 2_000
    """Tokens of the summary that are asked for."""
    most: int = 0
    """Tokens that are taken; models count words badly. 0: half as much again."""
    unsupported: float = 0.05
    limits: Limits = Limits()
    source: Source


class Round(msgspec.Struct, frozen=True):
    """One request and what became of it."""

    purpose: Purpose
    usage: Usage
    faults: tuple[str, ...] = ()
    has_overflowed: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What the model gave in the end. `text` is empty when nothing of it can be used."""

    text: str
    rounds: tuple[Round, ...]
    model: str = ""

    @property
    def usage(self) -> Usage:
        """Of all requests."""
        return sum((round.usage for round in self.rounds), Usage())

    @property
    def because(self) -> str:
        """Why there is no text."""
        return "" if self.text or not self.rounds else " ".join(self.rounds[-1].faults)


async def summarise(job: Job, summariser: Summariser) -> Outcome:
    """The summary that `summariser` wrote, where it passes what can be checked."""
    work = _Work(job, summariser)
    text = await work.run()
    return Outcome(text, tuple(work.rounds), work.model)


class _Work:
    def __init__(self, job: Job, summariser: Summariser) -> None:
        self._job, self._ask_model = job, summariser
        self.rounds: list[Round] = []
        self.model = ""
        words = max(60, round(job.allowance * _WORDS))
        self._told = prompts.rules(
            words=words, emphasis=job.emphasis, instructions=job.instructions
        )
        self._output = _output(job.allowance, job.limits)

    async def run(self) -> str:
        room = self._room()
        for _ in range(1 + _HALVINGS):
            prompt, purpose = await self._prompt(room)
            if prompt:
                answer, found = await self._ask(prompt, purpose)
                if not _overflowed(answer):
                    return await self._settled(prompt, answer, found)
            elif not self.rounds[-1].has_overflowed:
                return ""
            room = max(_LEAST_ROOM, room // 2)
        return ""

    def _room(self) -> int:
        window = self._job.limits.window or _UNKNOWN_WINDOW
        fixed = text_tokens(prompts.SYSTEM + self._told) + text_tokens(self._job.previous)
        return max(_LEAST_ROOM, round((window - self._output - fixed) / _SAFETY) - 200)

    async def _prompt(self, room: int) -> tuple[str, Purpose]:
        """The prompt of the summary itself; empty when the notes for it failed."""
        job = self._job
        texts = await asyncio.to_thread(parts, job.messages, job.groups, room)
        if len(texts) == 1:
            return prompts.whole(texts[0], job.previous, self._told), Purpose.WHOLE
        words = max(60, round(min(job.allowance, 0.6 * room / len(texts)) * _WORDS))
        notes = []
        for number, text in enumerate(texts, 1):
            prompt = prompts.part(text, number, len(texts), words)
            answer, found = await self._ask(prompt, Purpose.PART)
            if not answer.text.strip() or found.is_final:
                return "", Purpose.PART
            notes.append(answer.text.strip())
        return prompts.merged(notes, job.previous, self._told), Purpose.MERGE

    async def _settled(self, prompt: str, answer: SummaryAnswer, found: Verdict) -> str:
        """The text of the answer, of its repair, or nothing."""
        if found.is_good:
            return answer.text.strip()
        if found.is_final:
            return ""
        first = answer.text.strip() if found.unsupported or _is_short(answer, self._job) else ""
        self._output = _output(2 * self._job.allowance, self._job.limits)
        repaired, found = await self._ask(
            prompts.repair(prompt, first, found.faults), Purpose.REPAIR
        )
        if found.is_good:
            return repaired.text.strip()
        return self._trimmed(repaired, found)

    def _trimmed(self, answer: SummaryAnswer, found: Verdict) -> str:
        """The repaired answer without its lines that name what is unknown, if that is all."""
        text = answer.text.strip()
        if found.is_final or len(found.faults) != 1 or not found.unsupported:
            return ""
        unknown, known = names(text, self._job.source)
        if len(unknown) > _CUT_AWAY * (len(unknown) + known):
            return ""
        left = without(text, unknown)
        again = msgspec.structs.replace(answer, text=left)
        return left if self._look(again).is_good else ""

    async def _ask(self, prompt: str, purpose: Purpose) -> tuple[SummaryAnswer, Verdict]:
        if len(self.rounds) >= MOST_REQUESTS:
            return SummaryAnswer(), Verdict(("it took too many requests",), is_final=True)
        answer = await self._ask_model(
            SummaryRequest(
                system=prompts.SYSTEM,
                prompt=prompt,
                max_tokens=self._output,
                purpose=purpose,
                limits=self._job.limits,
            )
        )
        self.model = answer.model or self.model
        found = self._look(answer) if purpose is not Purpose.PART else _usable(answer)
        self.rounds.append(Round(purpose, answer.usage, found.faults, _overflowed(answer)))
        return answer, found

    def _look(self, answer: SummaryAnswer) -> Verdict:
        job = self._job
        most = job.most or round(1.5 * job.allowance)
        return verdict(answer, job.source, most=most, unsupported=job.unsupported)


def _usable(answer: SummaryAnswer) -> Verdict:
    """Notes are read by a model again: they only have to be there."""
    found = verdict(answer, Source(()), most=10**9, unsupported=1.0)
    return found if found.is_final or not answer.text.strip() else Verdict()


def _output(tokens: int, limits: Limits) -> int:
    wanted = max(_LEAST_OUTPUT, _THINKING * tokens)
    if limits.window is not None:
        wanted = min(wanted, max(256, limits.window // 3))
    return wanted if limits.max_output is None else min(wanted, limits.max_output)


def _overflowed(answer: SummaryAnswer) -> bool:
    is_error = answer.error is not None and answer.error.code in _OVERFLOWS
    return is_error or answer.stop is StopReason.CONTEXT_FULL


def _is_short(answer: SummaryAnswer, job: Job) -> bool:
    """Whether showing the answer to its writer again is worth its tokens."""
    return 0 < text_tokens(answer.text) <= 2 * job.allowance
