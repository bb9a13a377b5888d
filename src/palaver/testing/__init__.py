"""The test kit that ships with Palaver: for its own tests, and for yours.

Names are imported when they are first used, so that a scripted model does not load a web server.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palaver.testing.chaos import ChaosModel as ChaosModel, Weather as Weather
    from palaver.testing.clock import ToldClock as ToldClock
    from palaver.testing.fault_proxy import (
        Bandwidth as Bandwidth,
        Blackhole as Blackhole,
        Close as Close,
        FaultProxy as FaultProxy,
        Latency as Latency,
        Refuse as Refuse,
        Reset as Reset,
        Slicer as Slicer,
        Stall as Stall,
    )
    from palaver.testing.faults import (
        POINTS as POINTS,
        Delay as Delay,
        Fault as Fault,
        Faults as Faults,
        Hang as Hang,
        Kill as Kill,
        Raise as Raise,
        each_passing as each_passing,
    )
    from palaver.testing.history import sendable as sendable, valid_history as valid_history
    from palaver.testing.provider_server import ProviderServer as ProviderServer
    from palaver.testing.requests import sent as sent
    from palaver.testing.script import (
        Call as Call,
        Cut as Cut,
        Decline as Decline,
        Fail as Fail,
        Line as Line,
        Pause as Pause,
        Report as Report,
        Say as Say,
        Step as Step,
        Stop as Stop,
        Think as Think,
        Turn as Turn,
    )
    from palaver.testing.scripted import (
        ScriptedModel as ScriptedModel,
        ScriptedStream as ScriptedStream,
    )
    from palaver.testing.simulation import Figures as Figures, simulate as simulate

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
    "Figures": "simulation",
    "simulate": "simulation",
}
_FAULTS = ["POINTS", "Delay", "Fault", "Faults", "Hang", "Kill", "Raise", "each_passing"]
_WHERE |= dict.fromkeys(_FAULTS, "faults")
_NETWORK = ["Bandwidth", "Blackhole", "Close", "Latency", "Refuse", "Reset", "Slicer", "Stall"]
_WHERE |= dict.fromkeys(["FaultProxy", *_NETWORK], "fault_proxy")
_STEPS = ["Call", "Cut", "Decline", "Fail", "Pause", "Report", "Say", "Stop", "Think"]
_WHERE |= dict.fromkeys([*_STEPS, "Line", "Step", "Turn"], "script")


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
