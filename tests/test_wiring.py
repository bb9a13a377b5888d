import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import palaver
from palaver.domain.errors import ConfigurationError
from palaver.environment import Environment, read_environment
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing import ScriptedModel, ToldClock
from palaver.wiring import MODELS, Models


def environment(tmp_path: Path, toml: str = "", **variables: str) -> Environment:
    (tmp_path / "palaver.toml").write_text(toml)
    return read_environment({"PALAVER_HOME": str(tmp_path), **variables})


def test_without_a_key_the_offline_responder_answers(tmp_path: Path) -> None:
    """Nothing has to be configured."""
    assert environment(tmp_path).model == "offline"


@pytest.mark.parametrize(
    "variables, model",
    [
        ({"ANTHROPIC_API_KEY": "a"}, "anthropic:claude-sonnet-4-5"),
        ({"OPENAI_API_KEY": "o"}, "openai:gpt-5-mini"),
        ({"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o"}, "anthropic:claude-sonnet-4-5"),
        ({"ANTHROPIC_API_KEY": " "}, "offline"),
        ({"ANTHROPIC_API_KEY": "a", "PALAVER_MODEL": "offline"}, "offline"),
    ],
)
def test_a_key_chooses_its_provider(tmp_path: Path, variables: dict[str, str], model: str) -> None:
    """The first provider with a key is used unless a model is named."""
    assert environment(tmp_path, **variables).model == model


def test_settings_come_from_the_file(tmp_path: Path) -> None:
    """Groups and names as in `palaver.settings`; the rest keeps its default."""
    found = environment(tmp_path, 'model = "offline"\n[settings.clocks]\nturn_s = 5.0\n')
    assert found.settings.clocks.turn_s == 5.0
    assert found.settings.clocks.connect_s == 5.0


@pytest.mark.parametrize(
    "toml",
    [
        "modle = 'x'",
        "[settings.clock]\nturn_s = 1",
        "[settings.clocks]\nturn = 1",
        "[settings.clocks]\nturn_s = 'long'",
        "not toml",
        "settings = 3",
        "model = 3",
        "folders = 3",
        "folders = [3]",
        "log_level = ['info']",
        "[settings]\nclocks = 3",
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, toml: str) -> None:
    """A wrong name or value is an error that says which."""
    with pytest.raises(ConfigurationError):
        environment(tmp_path, toml)


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """PALAVER_CONFIG is not silently ignored."""
    with pytest.raises(ConfigurationError, match="nowhere"):
        environment(tmp_path, PALAVER_CONFIG=str(tmp_path / "nowhere.toml"))


@pytest.mark.parametrize("name", ["nonsense", "anthropic:", "anthropic:x", "openai:x", "foo:bar"])
def test_a_model_that_cannot_be_used_says_why(tmp_path: Path, name: str) -> None:
    """Unknown providers, missing names, missing keys: each with what to do."""
    models = Models(environment(tmp_path), default="offline")
    with pytest.raises(ConfigurationError) as caught:
        models(name)
    assert caught.value.hint


def test_an_address_needs_no_key(tmp_path: Path) -> None:
    """A compatible server on one's own machine takes any key."""
    found = environment(tmp_path, OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert Models(found, default="offline")("openai:local").name == "openai:local"


def test_keys_are_not_shown(tmp_path: Path) -> None:
    """Neither the environment nor a model shows a key when it is printed."""
    found = environment(tmp_path, ANTHROPIC_API_KEY="sk-canary-1234567890")
    model = Models(found, default="offline")("anthropic:claude-sonnet-4-5")
    assert "canary" not in repr(found) + repr(model) + str(vars(model).keys())


async def test_a_wrong_model_is_said_when_opening(tmp_path: Path) -> None:
    """Not at the first message."""
    with pytest.raises(ConfigurationError):
        async with palaver.open(tmp_path / "x.db", model="nonsense"):
            pass


async def test_builtin_tools_give_way_to_ones_own(tmp_path: Path) -> None:
    """A tool of the same name replaces the built-in one."""

    @palaver.tool(effect="read")
    async def calculator(expression: str) -> str:
        """Mine."""
        return "42"

    async with palaver.open(
        ":memory:", model=ScriptedModel(), tools=[calculator], builtin_tools=True
    ) as manager:
        assert manager.tools.get("calculator").description == "Mine."
        assert manager.tools.get("current_time").name == "current_time"


@pytest.mark.parametrize(
    "options", [{"approvals": "perhaps"}, {"model": "nonsense"}, {"tools": [palaver, palaver]}]
)
async def test_a_failed_opening_leaves_nothing_open(
    tmp_path: Path, options: dict[str, object]
) -> None:
    """A wrong option is a typed error, and the file can be opened by the next one."""
    with pytest.raises(palaver.PalaverError):
        async with palaver.open(tmp_path / "x.db", **options):  # type: ignore[arg-type]
            pass
    async with palaver.open(tmp_path / "x.db", model=ScriptedModel()):
        pass


async def test_facts_have_the_time_of_the_given_clock() -> None:
    """A told clock tells the store, too."""
    clock = ToldClock(start=1_000.0)
    async with palaver.open(":memory:", model=ScriptedModel(), clock=clock) as manager:
        assert (await manager.create()).state.created_at == 1_000.0


def test_a_log_in_the_home_folder(tmp_path: Path) -> None:
    """`~` is the home folder in every path."""
    assert "~" not in environment(tmp_path, 'log = "~/palaver.log"').log


@pytest.mark.parametrize("address", ["foo", "http://[::1", "ftp://x", "http://"])
def test_a_wrong_address_is_said_before_anything_is_sent(tmp_path: Path, address: str) -> None:
    """With the variable that has to be mended."""
    found = environment(tmp_path, ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=address)
    with pytest.raises(ConfigurationError) as caught:
        Models(found, default="offline")("anthropic:claude-haiku-4-5")
    assert "ANTHROPIC_BASE_URL" in caught.value.hint


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    """It is told, also for the folder that one is in."""
    with pytest.raises(ConfigurationError):
        async with palaver.open(tmp_path, model=ScriptedModel()):
            pass


def test_one_folder_is_one_folder(tmp_path: Path) -> None:
    """A text is a path, not a list of letters."""
    assert environment(tmp_path, 'folders = "docs"').folders == (Path("docs"),)
    assert environment(tmp_path, 'folders = ["a", "b"]').folders == (Path("a"), Path("b"))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """With its place."""
    (tmp_path / "palaver.toml").write_bytes(b'model = "\xff"')
    with pytest.raises(ConfigurationError, match=r"palaver\.toml"):
        read_environment({"PALAVER_HOME": str(tmp_path)})


def test_the_data_folder_may_be_named_from_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~` is expanded before the file in the folder is looked for."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "palaver.toml").write_text('system = "found"')
    found = read_environment({"PALAVER_HOME": "~/x"})
    assert (found.home, found.system) == (tmp_path / "x", "found")


async def test_a_given_store_stays_open() -> None:
    """Whoever opened it closes it; what was said is there for the next manager."""
    store, blobs = MemoryStore(), MemoryBlobStore()
    for expected in (1, 2):
        async with palaver.open(model=ScriptedModel(["ok"]), store=store, blobs=blobs) as manager:
            await (await manager.create()).say("hi")
            assert len((await manager.list()).items) == expected
    async with palaver.open(model=ScriptedModel(), store=store, blobs=blobs) as manager:
        conversation = await manager.find("last")
    with pytest.raises(palaver.StoreError):
        await conversation.say("after the end")


WAITS = """
import asyncio, sys
import palaver
from palaver.environment import Environment

async def wait(model, wanted):
    found = Environment(home=sys.argv[1], model=model, keys={"anthropic": "a"})
    async with palaver.open(":memory:", environment=found):
        assert "aiohttp" not in sys.modules
        for _ in range(3000):
            if "aiohttp" in sys.modules:
                break
            await asyncio.sleep(wanted)
    assert ("aiohttp" in sys.modules) == bool(wanted)

asyncio.run(wait("offline", 0.0))
asyncio.run(wait("anthropic:claude-sonnet-4-5", 0.02))
"""


async def test_a_program_that_waits_is_ready_for_its_first_answer(tmp_path: Path) -> None:
    """What a provider's first answer needs is imported meanwhile, and never for another model."""
    command = [sys.executable, "-c", WAITS, str(tmp_path)]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


async def test_models_that_are_only_named_are_bounded(tmp_path: Path) -> None:
    """Callers may name any number of models: the ones that are used stay, the others are let go."""
    found = environment(tmp_path, OPENAI_API_KEY="k")
    clock = ToldClock()
    models = Models(found, default="offline", clock=clock)
    first, used = models("openai:first"), models("openai:used")
    for number in range(MODELS):
        models(f"openai:m{number}")
        assert models("openai:used") is used
    assert models("openai:first") is not first
    await clock.advance(found.settings.clocks.turn_s + 1.0)
    models("openai:another")
    await models.aclose()


def test_every_setting_has_a_variable(tmp_path: Path) -> None:
    """Numbers, switches and lists are read, and come before the file; nonsense is said."""
    found = environment(
        tmp_path,
        "[settings.server]\nport = 1\nhost = '127.0.0.2'",
        PALAVER_SERVER__PORT="8000",
        PALAVER_SERVER__ALLOWED_HOSTS="a.example.org, b.example.org",
        PALAVER_OUTBOX__AUTOMATIC="false",
        PALAVER_TURN__DRAIN_S="2.5",
    ).settings
    assert (found.server.port, found.server.host) == (8000, "127.0.0.2")
    assert found.server.allowed_hosts == ("a.example.org", "b.example.org")
    assert found.outbox.automatic is False
    assert found.turn.drain_s == 2.5
    for wrong in ({"PALAVER_SERVER__PORT": "many"}, {"PALAVER_SERVER__PROT": "1"}):
        with pytest.raises(ConfigurationError, match="PALAVER_SERVER__"):
            environment(tmp_path, **wrong)
