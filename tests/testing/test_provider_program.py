"""The server as a program, and the kit as an import."""

import asyncio
import sys

import aiohttp


async def test_it_prints_where_it_listens() -> None:
    """The program prints both base URLs and answers there with the reply that it was given."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "palaver.testing.provider_server", "--pace", "0", "--reply", "Hello!",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        line = (await program.stdout.readline()).decode()
        url = line.partition("ANTHROPIC_BASE_URL=")[2].strip()
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        body = {
            "model": "claude-haiku-4-5",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "hi"}],
        }
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.post(f"{url}/v1/messages", json=body) as response,
        ):
            assert (await response.json())["content"][0]["text"] == "Hello!"
    finally:
        program.terminate()
        await program.wait()


async def test_a_scripted_model_loads_no_web_server() -> None:
    """Who uses the model, the clock or the steps pays for no web framework."""
    code = (
        "import sys, palaver.testing as t; t.ScriptedModel; t.ToldClock; t.Say; t.valid_history; "
        "assert not {'aiohttp', 'jsonschema'} & set(sys.modules)"
    )
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await program.wait() == 0
