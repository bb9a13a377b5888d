"""Runs the worker script on a task, for a bounded time."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from palaver.domain.errors import ToolExecutionError

_SCRIPT = Path(__file__).with_name("worker.py")


class TookTooLong(ToolExecutionError):
    """The worker was killed; its input is hostile or unlucky."""


def work(task: dict[str, Any], *, seconds: float) -> dict[str, Any]:
    """The worker's answer. Blocks; call it in a thread. Raises TookTooLong after `seconds`."""
    # -I: neither the environment nor the working folder can slip in other modules; -S: faster.
    command = [sys.executable, "-I", "-S", str(_SCRIPT)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            output, _ = process.communicate(msgspec.json.encode(task), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TookTooLong(f"this took longer than {seconds:g} s and was stopped") from None
        finally:
            process.kill()
    try:
        answer: dict[str, Any] = msgspec.json.decode(output, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ToolExecutionError("the helper process failed") from error
    return answer
