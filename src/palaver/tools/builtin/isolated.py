"""Runs the worker script on a task, for a bounded time.

What is bounded is processor time, where the system can: a busy machine makes no input hostile.
"""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from palaver.domain.errors import ToolExecutionError

_SCRIPT = Path(__file__).with_name("worker.py")
_HAS_CPU_LIMIT = sys.platform != "win32"
_PATIENCE = 5.0 if _HAS_CPU_LIMIT else 1.0
"""Seconds by the clock that a worker gets for one of its processor's."""


class TookTooLong(ToolExecutionError):
    """The worker was killed; its input is hostile or unlucky."""


def work(task: dict[str, Any], *, seconds: float) -> dict[str, Any]:
    """The worker's answer. Blocks; call it in a thread. Raises TookTooLong after `seconds` of
    work."""
    # -I: neither the environment nor the working folder can slip in other modules; -S: faster.
    command = [sys.executable, "-I", "-S", str(_SCRIPT), str(seconds)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            output, _ = process.communicate(msgspec.json.encode(task), timeout=seconds * _PATIENCE)
        except subprocess.TimeoutExpired:
            raise _too_long(seconds) from None
        finally:
            process.kill()
    if _HAS_CPU_LIMIT and process.returncode == -signal.SIGXCPU:
        raise _too_long(seconds)
    try:
        answer: dict[str, Any] = msgspec.json.decode(output, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ToolExecutionError("the helper process failed") from error
    return answer


def _too_long(seconds: float) -> TookTooLong:
    return TookTooLong(f"this took longer than {seconds:g} s and was stopped")
