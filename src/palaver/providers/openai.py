"""OpenAI's models, and every server that speaks one of their two APIs.

`auto` takes the Responses API where it is at home (api.openai.com) and chat completions elsewhere:
that is what compatible servers have.
"""

from typing import Any, Literal

from palaver.domain.errors import ConfigurationError
from palaver.providers.base import ModelInfo, ModelRequest
from palaver.providers.fragments import Body
from palaver.providers.openai_answer import Assembler
from palaver.providers.openai_background import BackgroundStream, KeptResponses
from palaver.providers.openai_chat import ChatAssembler
from palaver.providers.openai_chat_request import ChatRequests
from palaver.providers.openai_request import Refused, Server
from palaver.providers.openai_responses import ResponsesAssembler
from palaver.providers.openai_responses_request import ResponsesRequests
from palaver.providers.openai_stream import OpenAIStream, headers
from palaver.providers.transport import EventSource, Transport
from palaver.settings import Clocks

BASE_URL = "https://api.openai.com/v1"


class OpenAIManager:
    """A `Model`. Holds connections and encoded history; one instance serves many conversations."""

    def __init__(
        self,
        *,
        model: str,
        api_key: str,
        info: ModelInfo,
        clocks: Clocks,
        base_url: str = BASE_URL,
        api: Literal["auto", "chat", "responses"] = "auto",
        transport: Transport | None = None,
        organization: str = "",
        project: str = "",
        background: bool = False,
    ) -> None:
        server = Server(base_url)
        if not server.host:
            raise ConfigurationError("the base URL of the model has no host")
        self._info, self._clocks, self._server = info, clocks, server
        self._provider = info.name.partition(":")[0]
        self._transport = transport or Transport()
        self._owns_transport = transport is None
        self._headers = headers(
            api_key=api_key, azure=server.is_azure, organization=organization, project=project
        )
        self._refused = Refused()
        self._marker_expected = server.is_openai or server.is_azure
        self._api = api if api != "auto" else "responses" if server.is_openai else "chat"
        path = "/chat/completions" if self._api == "chat" else "/responses"
        self._url = server.url(path)
        self._requests: ChatRequests | ResponsesRequests
        self._kept: KeptResponses | None = None
        if self._api == "chat":
            self._requests = ChatRequests(
                model=model, server=server, info=info, refused=self._refused
            )
            return
        self._requests = ResponsesRequests(
            model=model, server=server, info=info, refused=self._refused, background=background
        )
        if background:
            self._kept = KeptResponses(
                server,
                self._transport,
                headers=self._headers,
                clocks=clocks,
                provider=self._provider,
            )

    def __repr__(self) -> str:
        return f"OpenAIManager({self.name!r}, api={self._api!r}, host={self._server.host!r})"

    @property
    def name(self) -> str:
        """`provider:model`."""
        return self._info.name

    @property
    def info(self) -> ModelInfo:
        """What is known about the model."""
        return self._info

    @property
    def api(self) -> str:
        """The API in use: `chat` or `responses`."""
        return self._api

    def stream(self, request: ModelRequest) -> OpenAIStream:
        """Begin an attempt; nothing is sent before the first step of the iteration."""
        parts: Any = {
            "bodies": self._requests,
            "open": self._open,
            "assembler": self._assembler,
            "refused": self._refused,
            "provider": self._provider,
        }
        if self._kept is not None:
            return BackgroundStream(request, kept=self._kept, **parts)
        return OpenAIStream(request, **parts)

    async def aclose(self) -> None:
        """Connections are closed, unless the transport was given."""
        if self._kept is not None:
            await self._kept.aclose()
        if self._owns_transport:
            await self._transport.aclose()

    def _open(self, body: Body) -> EventSource:
        return self._transport.open(
            self._url,
            headers=self._headers,
            body=body,
            clocks=self._clocks,
            provider=self._provider,
        )

    def _assembler(self, stream: OpenAIStream) -> Assembler:
        origin = self._requests.origin
        if self._api == "responses":
            return ResponsesAssembler(
                failure=stream.failure, request_id=lambda: stream.request_id, origin=origin
            )
        return ChatAssembler(
            failure=stream.failure,
            request_id=lambda: stream.request_id,
            origin=origin,
            marker_expected=self._marker_expected,
            on_marker=self._expect_marker,
        )

    def _expect_marker(self) -> None:
        """A server that has sent `[DONE]` once always does: without it the answer is cut."""
        self._marker_expected = True
