"""The test kit that ships with Palaver: for its own tests, and for yours.

Names are imported when they are first used, so that a scripted model does not load a web server.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palaver.testing.chaos import ChaosModel as ChaosModel
    from palaver.testing.chaos import Weather as Weather
    from palaver.testing.clock import ToldClock as ToldClock
    from palaver.testing.history import sendable as sendable
    from palaver.testing.history import valid_history as valid_history
    from palaver.testing.provider_server import ProviderServer as ProviderServer
    from palaver.testing.requests import sent as sent
    from palaver.testing.script import Call as Call
    from palaver.testing.script import Cut as Cut
    from palaver.testing.script import Decline as Decline
    from palaver.testing.script import Fail as Fail
    from palaver.testing.script import Line as Line
    from palaver.testing.script import Pause as Pause
    from palaver.testing.script import Report as Report
    from palaver.testing.script import Say as Say
    from palaver.testing.script import Step as Step
    from palaver.testing.script import Stop as Stop
    from palaver.testing.script import Think as Think
    from palaver.testing.script import Turn as Turn
    from palaver.testing.scripted import ScriptedModel as ScriptedModel
    from palaver.testing.scripted import ScriptedStream as ScriptedStream

_WHERE = {
    "ChaosModel": "chaos",
    "ToldClock": "clock",
    "Weather": "chaos",
    "sendable": "history",
    "sent": "requests",
    "valid_history": "history",
    "ScriptedModel": "scripted",
    "ScriptedStream": "scripted",
    "ProviderServer": "provider_server",
}
_STEPS = ["Call", "Cut", "Decline", "Fail", "Pause", "Report", "Say", "Stop", "Think"]
_WHERE |= dict.fromkeys([*_STEPS, "Line", "Step", "Turn"], "script")


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
