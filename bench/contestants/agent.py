"""LangChain's create_agent as its documentation shows it, with a SQLite checkpointer."""

from pathlib import Path
from typing import Any

from bench.contestants.base import KEY, MODELS, TOOLS, Heard, lived
from bench.wire import Api


class CreateAgent:
    """langchain + langchain-anthropic or langchain-openai, streamed token by token."""

    def __init__(self) -> None:
        self._agent: Any = None
        self._saver: Any = None
        self._config: dict[str, Any] = {}
        self._conversations = 0

    async def begin(self, api: Api, url: str, folder: Path, *, tools: bool) -> None:
        from langchain.agents import create_agent
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        await self.aclose()
        self._conversations += 1
        self._config = _config(self._conversations)
        self._saver = AsyncSqliteSaver.from_conn_string(str(folder / "agent.db"))
        checkpointer = await self._saver.__aenter__()
        given = list(TOOLS.values()) if tools else []
        self._agent = create_agent(_model(api, url), tools=given, checkpointer=checkpointer)

    async def another(self) -> "CreateAgent":
        self._conversations += 1
        made = CreateAgent()
        made._agent, made._config = self._agent, _config(self._conversations)
        return made

    async def say(self, text: str, heard: Heard) -> None:
        from langchain_core.messages import AIMessageChunk

        said = {"messages": [{"role": "user", "content": text}]}
        async for chunk, _ in self._agent.astream(said, self._config, stream_mode="messages"):
            if isinstance(chunk, AIMessageChunk) and (piece := chunk.text):
                heard(str(piece))

    async def fill(self, turns: int) -> None:
        from langchain_core.messages import convert_to_messages

        messages = [message for turn in range(turns) for message in lived(turn, "openai")]
        filled = {"messages": convert_to_messages(messages)}
        await self._agent.aupdate_state(self._config, filled, as_node="model")

    async def aclose(self) -> None:
        if self._saver is not None:
            await self._saver.__aexit__(None, None, None)
            self._saver = None


def _config(conversation: int) -> dict[str, Any]:
    return {"configurable": {"thread_id": str(conversation)}, "recursion_limit": 50}


def _model(api: Api, url: str) -> Any:
    given: dict[str, Any] = {"model": MODELS[api], "api_key": KEY, "max_retries": 0}
    if api == "anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(base_url=url, **given)
    from langchain_openai import ChatOpenAI

    given["use_responses_api"] = api == "responses"
    return ChatOpenAI(base_url=url + "/v1", stream_usage=True, **given)
