"""Whatever is sent to the server: no server error, and no answer that the document does not name.

schemathesis makes the requests of the document: good ones, bad ones, and chains along its links.
"""

import asyncio
import sys
from pathlib import Path

import pytest

from palaver.providers.offline import OfflineModel
from tests.server.conftest import Served, Serving

ST = Path(sys.executable).with_name("st")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
)
"""Not `positive_data_acceptance`: a model's name may be good and the model not there."""


async def examine(served: Served, folder: Path, *options: str) -> None:
    """Run schemathesis against the server; its findings are the assertion's message."""
    # Made once, and slowly on a slow machine; schemathesis gives its reading ten seconds.
    async with served.http.get("/api/openapi.json") as document:
        assert document.ok
        await document.read()
    process = await asyncio.create_subprocess_exec(
        ST,
        "run",
        f"{served.address}/api/openapi.json",
        "--request-timeout=120",
        "--suppress-health-check=too_slow",  # of the machine
        *options,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()[-20_000:]


def checks(*more: str) -> str:
    return f"--checks={','.join((*CHECKS, *more))}"


NO_KEYS = "^/api/keys"
"""Where nobody has a key yet: making one would shut everybody out."""
NOT_ITS_OWN = "--exclude-operation-id=revoke_key"


async def test_requests_of_every_kind(serving: Serving, tmp_path: Path) -> None:
    """Good and bad requests to every operation of a server that asks for no keys."""
    served = await serving(OfflineModel())
    await examine(
        served,
        tmp_path,
        checks(),
        f"--exclude-path-regex={NO_KEYS}",
        "--phases=examples,fuzzing",
        "--max-examples=1",
        "--generation-deterministic",
    )


async def test_chains_with_a_key(serving: Serving, tmp_path: Path) -> None:
    """Chains of requests along the links, by somebody with a key; without it they are refused."""
    served = await serving(OfflineModel())
    key = (await served.key())["authorization"]
    await examine(
        served,
        tmp_path,
        checks("ignored_auth"),
        NOT_ITS_OWN,
        f"--header=Authorization:{key}",
        "--phases=stateful",
        "--max-examples=8",
        "--generation-deterministic",
    )


ABOUT_ONE = "^/api/conversations/"
LENGTHS = {
    "edges, of one conversation": (NO_KEYS, "coverage", f"--include-path-regex={ABOUT_ONE}"),
    "edges, elsewhere": (f"{NO_KEYS}|{ABOUT_ONE}", "coverage"),
    "chance": (NO_KEYS, "fuzzing", "--max-examples=8"),
    "chains": (NO_KEYS, "stateful", "--max-examples=40"),
}
"""Each in a time of its own: what is left out, the phase, more options."""


@pytest.mark.long
@pytest.mark.parametrize("has_key", [False, True], ids=["without keys", "with a key"])
@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS.keys())
async def test_at_length(
    serving: Serving, tmp_path: Path, length: tuple[str, ...], has_key: bool
) -> None:
    """The same with the edges of every parameter, more requests and longer chains, in a file."""
    served = await serving(OfflineModel(), path=tmp_path / "served.db")
    without, phase, *options = length
    more: list[str] = []
    if has_key:
        more = ["ignored_auth"]
        key = (await served.key())["authorization"]
        options += [NOT_ITS_OWN, f"--header=Authorization:{key}"]
    await examine(
        served,
        tmp_path,
        checks(*more),
        f"--exclude-path-regex={without}",
        f"--phases={phase}",
        "--seed=1",
        *options,
    )
