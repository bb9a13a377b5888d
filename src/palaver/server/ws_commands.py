"""What a socket's commands do: the same as the routes of their names."""

from palaver.domain.access import Permission
from palaver.domain.errors import InvalidInput
from palaver.server import turns
from palaver.server.core import Caller
from palaver.server.ws_frames import Approve, Cancel, Command, Deny, Provide, Start, Subscribe

NEEDED: dict[type, Permission] = {
    Subscribe: "read",
    Start: "write",
    Cancel: "write",
    Approve: "approve",
    Deny: "approve",
    Provide: "write",
}
"""What a caller must be allowed; everything else is about the socket alone."""


async def carry_out(caller: Caller, command: Command) -> object:
    """Do it, and say what came of it. Raises what the routes raise."""
    match command:
        case Start():
            session = await turns.begin(caller, command.conversation, command)
            return {"turn": session.turn, "conversation": session.conversation}
        case Cancel(turn=turn):
            return await turns.cancel(caller, turn)
        case Approve(turn=turn, call=call, note=note):
            return await turns.decide(caller, turn, [turns.Decision(call, True, note)])
        case Deny(turn=turn, call=call, note=note):
            return await turns.decide(caller, turn, [turns.Decision(call, False, note)])
        case Provide(turn=turn, results=results):
            return await turns.provide(caller, turn, results)
        case _:
            raise InvalidInput("this cannot be asked for here")
