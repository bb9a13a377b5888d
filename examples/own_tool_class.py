"""A tool as a class: for tools that hold something (here a counter, elsewhere a connection).

python examples/own_tool_class.py
"""

import asyncio
from typing import Any

import palaver
from palaver import Effect, ExecutionContext, Tool, ToolDefinition


class Counter(Tool):
    """Counts, and reports how far it is."""

    def __init__(self) -> None:
        definition = ToolDefinition(
            name="count",
            description="Count a number of steps and say how many there were altogether.",
            parameters_schema={
                "type": "object",
                "properties": {"steps": {"type": "integer", "minimum": 1, "maximum": 1000}},
                "required": ["steps"],
                "additionalProperties": False,
            },
            argument_hint="<steps>",
            effect=Effect.IDEMPOTENT,
            timeout_s=10,
        )
        super().__init__(definition)
        self.total = 0

    async def execute(self, arguments: dict[str, Any], context: ExecutionContext) -> Any:
        for step in range(1, arguments["steps"] + 1):
            self.total += 1
            context.progress(f"step {step}", step / arguments["steps"])
        return {"counted": arguments["steps"], "altogether": self.total}


async def main() -> None:
    async with palaver.open(":memory:", tools=[Counter()]) as manager:
        conversation = await manager.create()
        for question in ('use count with {"steps": 3}', 'use count with {"steps": 0}'):
            reply = await conversation.say(question)
            print(reply.text)


if __name__ == "__main__":
    asyncio.run(main())
