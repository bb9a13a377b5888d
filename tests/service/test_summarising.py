"""A model that writes summaries may do what it likes; what comes of it comes in time."""

import asyncio

import pytest

from palaver.context.summary import Purpose, SummaryRequest
from palaver.recovery.manager import ErrorRecoveryManager
from palaver.service.summarising import ModelSummariser
from palaver.system import SystemClock
from palaver.testing import Pause, ScriptedModel


@pytest.mark.looptime
async def test_a_writer_that_hangs_is_given_up() -> None:
    """After its patience the answer is an error, the stream is closed and the try is recorded."""
    model = ScriptedModel([["## Goal", Pause(until=asyncio.Event()), "late"]])
    clock = SystemClock()
    recovery = ErrorRecoveryManager(clock=clock, chance=lambda: 0.5)
    ask = ModelSummariser(
        model, recovery=recovery, clock=clock, chance=lambda: 0.5, patience_s=60.0
    )
    answer = await ask(
        SummaryRequest(
            system="Summarise.", prompt="[m1] Hello.", max_tokens=100, purpose=Purpose.WHOLE
        )
    )
    assert answer.error is not None
    assert answer.error.code == "timeout"
    assert model.streams[0].is_closed
    assert [made.is_used for made in ask.made] == [False]
