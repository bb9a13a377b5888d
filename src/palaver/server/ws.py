"""Many turns over one socket: commands come in, events of all subscribed turns go out.

One task reads and is never kept waiting by what is written: each command is carried out in a task
of its own. Each subscription is a cursor on its turn, as a stream is. A client that takes nothing
for too long is let go of, with the places where it can go on; nobody else feels it.
"""

import asyncio
from contextlib import ExitStack

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from palaver import log
from palaver.domain.access import Principal
from palaver.domain.errors import (
    InvalidInput,
    NotAuthenticated,
    PalaverError,
    PermissionRefused,
    QuotaExceeded,
)
from palaver.server.audit import PRINCIPAL
from palaver.server.auth import LOCAL, token_in
from palaver.server.core import Server, calling, server_of
from palaver.server.credentials import Credential
from palaver.server.errors import INTERNAL, Draining
from palaver.server.readers import RETRY_S, Account
from palaver.server.ws_commands import NEEDED, carry_out
from palaver.server.ws_following import Following
from palaver.server.ws_frames import (
    Authenticate,
    BadCommand,
    BadFrame,
    Command,
    Ping,
    Start,
    Subscribe,
    Unsubscribe,
    command,
    failed,
    note,
    ok,
    refused,
)
from palaver.server.ws_link import Link
from palaver.streams.cursor import Cursor

router = APIRouter()
PROTOCOL = "palaver.v1"
AUTH_S = 5.0
"""In which a socket that came without a key has to send one."""
COMMANDS = 32
"""Of one socket under way at a time; twice as many end it."""
BURST_S = 10
RESTARTING, OVERLOADED, BROKEN = 1012, 1013, 1011
BAD, UNAUTHENTICATED, LATE, TOO_MANY = 4400, 4401, 4408, 4429
_KEYS = ("authorization", "x-api-key", "api-key")


@router.websocket("/ws")
async def socket(websocket: WebSocket) -> None:
    """See docs/reference/websocket.md."""
    await Socket(server_of(websocket), websocket).serve()


class Closing(Exception):
    """The socket is to be closed: with what code, for what reason, behind which last words."""

    def __init__(self, code: int, reason: str, *last: str) -> None:
        super().__init__(reason)
        self.code, self.reason, self.last = code, reason, last


class Socket:
    """One connection."""

    def __init__(self, server: Server, websocket: WebSocket) -> None:
        self._server, self._socket = server, websocket
        self._settings, self._clock = server.settings, server.parts.clock
        self._link = Link(websocket, clock=self._clock)
        self._following = Following(server, self._link, limit=self._settings.subscriptions)
        self._credential = Credential(("", ""), "")
        self._block = asyncio.timeout(None)
        self._tasks: asyncio.TaskGroup | None = None
        self._ending: Closing | None = None
        self._under_way = 0
        self._checked_at = self._clock.monotonic()
        self._frames = _Bucket(self._settings.frames_per_s)

    async def serve(self) -> None:
        """From the handshake to the close."""
        offered = self._socket.scope["subprotocols"]
        await self._socket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
        try:
            if offered and PROTOCOL not in offered:
                raise Closing(BAD, f"the subprotocol is {PROTOCOL}")
            with ExitStack() as stack:
                await self._come_in(stack)
                await self._run()
            ending = self._ending
        except Closing as closing:
            ending = closing
        except WebSocketDisconnect:
            return
        if ending is not None and not self._link.gone.is_set():
            await self._link.close(
                ending.code, ending.reason, *ending.last, within_s=self._settings.send_s
            )

    # Who it is.

    async def _come_in(self, stack: ExitStack) -> None:
        readers = self._server.sockets
        try:
            found = await self._brought()
            account = self._by_address() if found is None else found.account
            stack.enter_context(readers.looked_after(self, account))
            self._credential = found or await self._awaited()
            await self._principal()
            readers.move(self, self._credential.account)
        except NotAuthenticated as error:
            await self._server.audit.refused(self._socket.scope, str(UNAUTHENTICATED))
            raise Closing(UNAUTHENTICATED, error.message) from error
        except QuotaExceeded as error:
            raise Closing(TOO_MANY, error.message) from error
        except Draining as error:
            raise Closing(RESTARTING, error.message) from error
        except PalaverError as error:
            raise Closing(OVERLOADED, error.message) from error

    async def _brought(self) -> Credential | None:
        """What the handshake brought: a ticket, a key, or nothing."""
        ticket = self._socket.query_params.get("ticket")
        if ticket is not None:
            return self._server.tickets.take(ticket)
        if not await self._server.asks_for_keys():
            return Credential((LOCAL.tenant, LOCAL.account), "")
        if any(name in self._socket.headers for name in _KEYS):
            return await self._credited(token_in(self._socket.headers))
        return None

    def _by_address(self) -> Account:
        """Nobody is known yet, so an address stands for them."""
        client = self._socket.client
        return ("", "" if client is None else client.host)

    async def _awaited(self) -> Credential:
        """What the first frame brings."""
        try:
            async with asyncio.timeout(AUTH_S):
                message = await self._socket.receive()
        except TimeoutError:
            raise Closing(LATE, "no key came in time") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        try:
            given = await command(message.get("text") or "")
        except (BadFrame, BadCommand) as error:
            raise Closing(BAD, error.message) from error
        if not isinstance(given, Authenticate):
            raise NotAuthenticated("the first frame has to bring a key")
        found = await self._credited(given.token)
        await self._link.write(ok(given.id, {}))
        return found

    async def _credited(self, token: str) -> Credential:
        principal = await self._server.authenticator.authenticate(token)
        return Credential((principal.tenant, principal.account), token)

    async def _principal(self) -> Principal:
        """Who it is, looked at again. Raises NotAuthenticated."""
        self._checked_at = self._clock.monotonic()
        principal = LOCAL
        if self._credential.token:
            principal = await self._server.authenticator.authenticate(self._credential.token)
        elif await self._server.asks_for_keys():
            raise NotAuthenticated("the server asks for a key now")
        self._socket.scope[PRINCIPAL] = principal
        return principal

    # What it wants.

    async def _run(self) -> None:
        try:
            async with self._block, asyncio.TaskGroup() as self._tasks:
                if self._ending is None:
                    await self._read(self._tasks)
        except TimeoutError:
            if not self._block.expired():
                raise
        except ExceptionGroup as group:
            log.get("server").error("socket_failed", error=repr(group), exc_info=group)
            self._ending = Closing(BROKEN, "an unexpected error")
        finally:
            self._tasks = None

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                self._link.gone.set()
                self._stop()
                return
            try:
                wanted = await self._understood(message.get("text"))
            except Closing as closing:
                self._end(closing)
                return
            except BadCommand as error:
                tasks.create_task(self._link.write(refused(error.id, error)))
                continue
            self._under_way += 1
            tasks.create_task(self._answer(wanted, tasks))

    async def _understood(self, frame: str | None) -> Command:
        if not self._frames.take(self._clock.monotonic()):
            raise Closing(TOO_MANY, "more frames than a socket may send")
        if self._under_way >= 2 * COMMANDS:
            raise Closing(TOO_MANY, "more commands under way than a socket may have")
        if frame is None:
            raise Closing(BAD, "frames are text")
        try:
            return await command(frame)
        except BadFrame as error:
            raise Closing(BAD, error.message) from error

    async def _answer(self, wanted: Command, tasks: asyncio.TaskGroup) -> None:
        try:
            if self._under_way > COMMANDS:
                raise QuotaExceeded("commands", allowed=COMMANDS, retry_after_s=RETRY_S)
            await self._carry_out(wanted, tasks)
        except NotAuthenticated as error:
            self._end(Closing(UNAUTHENTICATED, error.message))
        except PalaverError as error:
            if isinstance(error, PermissionRefused):
                await self._server.audit.refused(self._socket.scope, error.code)
            await self._link.write(refused(wanted.id, error))
        except Exception as error:  # noqa: BLE001 - the last one who can answer
            log.get("server").error("command_failed", error=repr(error), exc_info=error)
            await self._link.write(failed(wanted.id, INTERNAL, 500))
        finally:
            self._under_way -= 1

    async def _carry_out(self, wanted: Command, tasks: asyncio.TaskGroup) -> None:
        match wanted:
            case Ping():
                await self._link.write(ok(wanted.id, {}))
            case Authenticate():
                await self._renew(wanted)
            case Unsubscribe(turn=turn):
                self._following.end(turn)
                await self._link.write(ok(wanted.id, {}))
            case _:
                principal = await self._principal()
                principal.require(NEEDED[type(wanted)])
                await self._server.quotas.check(principal, spends=False)
                async with calling(self._server, principal, self._socket.scope) as caller:
                    if isinstance(wanted, Subscribe):
                        self._following.check(wanted.turn)
                        await caller.manager.session(wanted.turn, after=Cursor.of(wanted.after))
                        done: object = {"turn": wanted.turn}
                    else:
                        done = await carry_out(caller, wanted)
                await self._link.write(ok(wanted.id, done))
                self._follow(wanted, done, principal, tasks)

    def _follow(
        self, wanted: Command, done: object, principal: Principal, tasks: asyncio.TaskGroup
    ) -> None:
        """Begin behind the answer, so that no event comes before it."""
        match wanted:
            case Subscribe(turn=turn, after=after):
                self._following.begin(tasks, principal, turn, after)
            case Start(stream=True):
                assert isinstance(done, dict)
                self._following.begin(tasks, principal, done["turn"], 0)
            case _:
                pass

    async def _renew(self, wanted: Authenticate) -> None:
        found = await self._credited(wanted.token)
        if found.account[0] != self._credential.account[0]:
            raise InvalidInput("this key is another tenant's; open another socket for it")
        self._credential = found
        self._server.sockets.move(self, found.account)
        await self._link.write(ok(wanted.id, {}))

    # What goes on beside it.

    def look(self, now: float) -> None:
        """See `Reader.look`."""
        if self._link.stuck_s(now) >= self._settings.send_s:
            last = note("server.slow", data={"cursors": self._following.cursors})
            reason = "too slow; go on behind the last event"
            self._link.cut(OVERLOADED, reason, last, within_s=self._settings.send_s)
            self._stop()
        elif self._tasks is not None and now - self._checked_at >= self._settings.heartbeat_s:
            self._tasks.create_task(self._check())

    async def _check(self) -> None:
        try:
            await self._principal()
        except NotAuthenticated as error:
            self._end(Closing(UNAUTHENTICATED, error.message))
        except PalaverError:
            pass  # the store cannot be read: commands will say so

    def end(self) -> None:
        """Close the socket: the client comes back, and to another process."""
        last = note("server.draining", data={"retry_ms": int(RETRY_S * 1000)})
        self._end(Closing(RESTARTING, "the server is ending", last))

    def _end(self, closing: Closing) -> None:
        self._ending = self._ending or closing
        self._stop()

    def _stop(self) -> None:
        if self._tasks is not None and not self._block.expired():
            self._block.reschedule(0)


class _Bucket:
    """Frames that a client may send: so many a second, and what it saved of ten seconds."""

    def __init__(self, each_s: int) -> None:
        self._each_s = each_s
        self._left = float(each_s * BURST_S)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Count a frame; whether it was allowed."""
        earned = 0.0 if self._at is None else (now - self._at) * self._each_s
        self._left = min(float(self._each_s * BURST_S), self._left + earned)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
