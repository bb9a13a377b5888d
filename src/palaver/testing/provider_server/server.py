"""The provider server: one aiohttp application on the loopback that speaks all three APIs."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from palaver.domain.clock import Clock
from palaver.domain.errors import ConnectionFailed, ProviderTimeout
from palaver.domain.values import Usage
from palaver.system import SystemClock
from palaver.testing.provider_server.apis import ANTHROPIC, CHAT, RESPONSES, Api
from palaver.testing.provider_server.background import Background
from palaver.testing.provider_server.echo import echo
from palaver.testing.provider_server.faults import Answer, Fault, Hang, Reset, Type
from palaver.testing.provider_server.journal import Journal, Received, redacted
from palaver.testing.provider_server.listing import models_body
from palaver.testing.provider_server.player import Player, Way, reset
from palaver.testing.provider_server.proofs import Proofs
from palaver.testing.provider_server.refusal import Refused, for_status, scripted
from palaver.testing.provider_server.reply import Prepared, Reply, ServerTurn, new_id, prepare
from palaver.testing.provider_server.terms import Terms
from palaver.testing.provider_server.usage import PromptCache, tokens
from palaver.testing.script import Fail, Pause, Script, Step, Turn, rest, steps_of

_LISTED = ("claude-opus-5-5", "claude-haiku-4-5", "gpt-4o-mini", "gpt-5-mini")
_SSE = "text/event-stream; charset=utf-8"


class ProviderServer:
    """`async with ProviderServer() as server:` listens on a free port of 127.0.0.1.

    `background` keeps responses in background mode. `script` queues replies, `when` answers by what
    the user said, `default` speaks otherwise (an echo). `journal` holds what came. `key`: the only
    good API key (None: any). `models`: the only known ones (None: names of the usual families).
    `window`: tokens that fit. `max_body`: bytes. `piece`: characters of a delta. `pace_s`: seconds
    between deltas. `prefill`: whether Anthropic requests may end with an assistant message.
    `strict`: whether bodies are checked at all.
    """

    def __init__(
        self,
        turns: Sequence[ServerTurn] = (),
        *,
        port: int = 0,
        clock: Clock | None = None,
        default: Turn[Received] = echo,
        key: str | None = None,
        models: Sequence[str] | None = None,
        window: int = 200_000,
        max_body: int = 32 * 1024 * 1024,
        piece: int = 12,
        pace_s: float = 0.0,
        prefill: bool = False,
        strict: bool = True,
    ) -> None:
        self.port = port
        self.journal = Journal()
        self.default: Turn[Received] = default
        self.piece, self.pace_s, self.strict = piece, pace_s, strict
        self._clock: Clock = clock or SystemClock()
        self._script: Script[ServerTurn] = Script(turns)
        self._models, self._max_body = models, max_body
        known = frozenset(models) if models is not None else None
        self._terms = Terms(Proofs(), key=key, models=known, window=window, prefill=prefill)
        self.background = Background()
        self._cache = PromptCache()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        """The root, as Anthropic's clients want their base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI's clients."""
        return f"{self.url}/v1"

    @property
    def left(self) -> int:
        """How many scripted replies nobody asked for yet."""
        return len(self._script)

    def script(self, turns: Sequence[ServerTurn]) -> None:
        """Say these, one for each request, after what is scripted already."""
        self._script.add(turns)

    def when(self, mention: str, turn: ServerTurn) -> None:
        """Say `turn` whenever the last user message holds `mention`."""
        self._script.when(mention, turn)

    async def wait_for(self, count: int, *, over: bool = True, timeout_s: float = 60.0) -> None:
        """Until `count` requests have come and are over. Raises TimeoutError."""
        await self.journal.wait_for(count, over=over, timeout_s=timeout_s)

    @asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """Within this context new connections are refused; afterwards the port listens again."""
        assert self._site is not None
        await self._site.stop()
        try:
            yield
        finally:
            await self._listen()

    async def __aenter__(self) -> "ProviderServer":
        app = web.Application(client_max_size=self._max_body)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_post("/v1/messages/count_tokens", self._count_tokens)
        for path, api in (
            ("/v1/messages", ANTHROPIC),
            ("/v1/chat/completions", CHAT),
            ("/v1/responses", RESPONSES),
        ):
            app.router.add_post(path, _Endpoint(self, api).handle)
        kept = _Endpoint(self, RESPONSES)
        app.router.add_get("/v1/responses/{id}", kept.read_on)
        app.router.add_post("/v1/responses/{id}/cancel", kept.cancel)
        # With cancellation a client that leaves ends its handler at once: the journal is exact.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05
        )
        await self._runner.setup()
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _listen(self) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        server = self._site._server
        assert isinstance(server, asyncio.Server)
        self.port = server.sockets[0].getsockname()[1]

    async def _list_models(self, request: web.Request) -> web.Response:
        names = list(self._models if self._models is not None else _LISTED)
        is_openai = "anthropic-version" not in request.headers
        api = CHAT if is_openai else ANTHROPIC
        try:
            api.check_headers(_lower(request), self._terms)
        except Refused as refused:
            return _refusal(api, refused, new_id("req_"))
        return web.json_response(models_body(names, is_openai=is_openai))

    async def _count_tokens(self, request: web.Request) -> web.Response:
        try:
            ANTHROPIC.check_headers(_lower(request), self._terms)
        except Refused as refused:
            return _refusal(ANTHROPIC, refused, new_id("req_"))
        body = msgspec.json.decode(await request.read(), type=dict)
        count = tokens([body.get("tools"), body.get("system"), body.get("messages")])
        return web.json_response({"input_tokens": count})


class _Dropped(Exception):
    """The server itself has reset the connection. What the handler returns then goes nowhere."""


class _Endpoint:
    """One API of one server."""

    def __init__(self, server: ProviderServer, api: Api) -> None:
        self._server, self._api = server, api

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A request for an answer."""
        return await self._received(request, self._answer)

    async def read_on(self, request: web.Request) -> web.StreamResponse:
        """The events of a kept response, from one of them on."""
        return await self._received(request, self._read_on)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """The end of a kept response."""
        return await self._received(request, self._cancel)

    async def _received(
        self,
        request: web.Request,
        answer: Callable[[web.Request, Received], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        received = Received(
            api=self._api.name,
            path=request.path,
            headers=redacted(request.headers),
            body={},
            size=0,
            started=time.monotonic(),
            request_id=new_id("req_01"),
        )
        self._server.journal.add(received)
        client_gone = False
        try:
            return await answer(request, received)
        except Refused as refused:
            return self._refuse(received, refused)
        except _Dropped:
            return web.Response()
        except ConnectionError:
            client_gone = True
            return web.Response()
        except asyncio.CancelledError:
            client_gone = True
            raise
        finally:
            self._server.journal.close(received, client_gone=client_gone)

    async def _answer(self, request: web.Request, received: Received) -> web.StreamResponse:
        server, api = self._server, self._api
        await self._read(request, received)
        api.check_headers(_lower(request), server._terms)
        prompt = self._judge(received)
        scripted_turn = server._script.next(received.said)
        reply = _as_reply(server.default if scripted_turn is None else scripted_turn)
        early = await self._fail_early(request, received, reply.faults)
        if early is not None:
            return early
        steps = await self._before_stream(request, steps_of(reply.turn, received))
        prepared = prepare(
            received,
            steps,
            prompt=prompt,
            piece=server.piece if reply.piece is None else reply.piece,
            terms=server._terms,
            id_prefix=api.id_prefix,
            call_prefix=api.call_prefix,
        )
        if received.stream:
            return await self._stream(request, received, reply, prepared)
        return await self._whole(received, prepared)

    async def _read_on(self, request: web.Request, received: Received) -> web.StreamResponse:
        self._api.check_headers(_lower(request), self._server._terms)
        after = int(request.query.get("starting_after", "-1"))
        frames = self._server.background.after(request.match_info["id"], after)
        faults = self._server.background.next_faults()
        early = await self._fail_early(request, received, faults)
        if early is not None:
            return early
        response = web.StreamResponse(headers=self._headers(received, _SSE))
        received.status = 200
        await response.prepare(request)
        way = Way(self._api, self._server._clock, faults)
        await Player(way, received, response, request).play(frames)
        return response

    async def _cancel(self, request: web.Request, received: Received) -> web.StreamResponse:
        self._api.check_headers(_lower(request), self._server._terms)
        self._server.background.cancel(request.match_info["id"])
        received.status = 200
        return web.json_response({"id": request.match_info["id"], "status": "cancelled"})

    def _judge(self, received: Received) -> Usage:
        """Refuse what is not allowed, note what was said, weigh it."""
        try:
            if self._server.strict:
                self._api.check_body(received.body, self._server._terms)
            self._api.note(received)
            return self._api.prompt(self._server._cache, received.body)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            # A shape that no rule names. Providers' schemas are finer than our rules.
            text = "messages: Input does not match the expected shape."
            raise Refused(400, "invalid_request_error", text) from None

    async def _read(self, request: web.Request, received: Received) -> None:
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            text = "Request exceeds the maximum size"
            kind = "invalid_request_error" if self._api.is_openai else "request_too_large"
            raise Refused(413, kind, text) from None
        except HttpProcessingError as error:
            raise Refused(400, "invalid_request_error", str(error)) from None
        received.size = len(raw)
        try:
            received.body = msgspec.json.decode(raw, type=dict)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            text = f"The request body is not valid JSON: {error}"
            if self._api.is_openai:
                text = f"We could not parse the JSON body of your request. ({error})"
            raise Refused(400, "invalid_request_error", text) from None

    async def _fail_early(
        self, request: web.Request, received: Received, faults: tuple[Fault, ...]
    ) -> web.StreamResponse | None:
        for fault in faults:
            if isinstance(fault, Answer):
                return self._other_answer(received, fault)
            if isinstance(fault, Hang):
                await (fault.until or asyncio.Event()).wait()
            if isinstance(fault, Reset) and not fault.after:
                reset(request)
                raise _Dropped
        return None

    async def _before_stream(
        self, request: web.Request, steps: tuple[Step, ...]
    ) -> tuple[Step, ...]:
        """Pauses and failures in front of all content come before the headers."""
        for number, step in enumerate(steps):
            if isinstance(step, Pause):
                await rest(step.seconds, step.until, self._server._clock)
            elif isinstance(step, Fail):
                if isinstance(step.error, ConnectionFailed):
                    reset(request)
                    raise _Dropped
                if isinstance(step.error, ProviderTimeout):
                    await asyncio.Event().wait()
                raise scripted(step.error, openai=self._api.is_openai)
            else:
                return steps[number:]
        return ()

    async def _stream(
        self, request: web.Request, received: Received, reply: Reply, prepared: Prepared
    ) -> web.StreamResponse:
        kind = next((f.content_type for f in reply.faults if isinstance(f, Type)), _SSE)
        response = web.StreamResponse(headers=self._headers(received, kind))
        response.headers["cache-control"] = "no-cache"
        received.status = 200
        await response.prepare(request)
        pace = self._server.pace_s if reply.pace_s is None else reply.pace_s
        way = Way(self._api, self._server._clock, reply.faults, pace)
        frames = self._api.frames(prepared)
        if received.body.get("background"):
            said = list(frames)
            self._server.background.keep(prepared.id, said)
            frames = iter(said)
        await Player(way, received, response, request).play(frames)
        return response

    async def _whole(self, received: Received, prepared: Prepared) -> web.Response:
        for step in prepared.steps:
            if isinstance(step, Pause):
                await rest(step.seconds, step.until, self._server._clock)
            if isinstance(step, Fail):
                raise scripted(step.error, openai=self._api.is_openai)
        received.status = 200
        body = msgspec.json.encode(self._api.whole(prepared))
        received.sent_bytes = len(body)
        return web.Response(body=body, headers=self._headers(received, "application/json"))

    def _other_answer(self, received: Received, fault: Answer) -> web.Response:
        if fault.body is None:
            refused = for_status(fault.status, openai=self._api.is_openai)
            refused.headers.update(fault.headers)
            return self._refuse(received, refused)
        received.status = fault.status
        is_text = isinstance(fault.body, str)
        body = (
            fault.body.encode() if isinstance(fault.body, str) else msgspec.json.encode(fault.body)
        )
        kind = fault.content_type or ("text/html; charset=utf-8" if is_text else "application/json")
        headers = self._headers(received, kind) | fault.headers
        return web.Response(status=fault.status, body=body, headers=headers)

    def _refuse(self, received: Received, refused: Refused) -> web.Response:
        received.status, received.error = refused.status, refused.message
        return _refusal(self._api, refused, received.request_id)

    def _headers(self, received: Received, kind: str) -> dict[str, str]:
        return {"content-type": kind, self._api.request_id_header: received.request_id}


def _as_reply(turn: ServerTurn) -> Reply:
    if isinstance(turn, Reply):
        return turn
    if isinstance(turn, Fault):
        return Reply(echo, (turn,))
    return Reply(turn)


def _refusal(api: Api, refused: Refused, request_id: str) -> web.Response:
    body = msgspec.json.encode(api.error_body(refused, request_id))
    headers = {"content-type": "application/json", api.request_id_header: request_id}
    return web.Response(status=refused.status, body=body, headers=headers | refused.headers)


def _lower(request: web.Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}
