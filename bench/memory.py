"""Resident memory of this process, in bytes."""

import contextlib
import resource
import sys
from pathlib import Path


def now() -> int:
    """What is resident now; the peak where the system does not say."""
    return _status("VmRSS") or peak()


def peak() -> int:
    """What was resident at most, since `reset_peak` where the system can do that."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> None:
    """Begin a new peak (Linux; elsewhere nothing happens)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)
