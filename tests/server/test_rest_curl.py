"""The page about curl: its lines run as a reader would run them."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from palaver.providers.offline import OfflineModel
from tests.docs.blocks import ROOT, blocks
from tests.server.conftest import Serving

PAGE = ROOT / "docs" / "how-to" / "http.md"
TOOLS = ("sh", "curl", "jq")


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")
async def test_every_line_for_curl_runs(serving: Serving, tmp_path: Path) -> None:
    """Each line ends well, and the answers are those that the page speaks of."""
    served = await serving(OfflineModel(), tools=[])
    script = "set -e\n" + "".join(b.text for b in blocks(PAGE) if b.language == "sh")
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        script,
        cwd=tmp_path,
        env=os.environ | {"PALAVER": served.address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    printed = out.decode()
    assert process.returncode == 0, printed + errors.decode()
    assert '"status":"ready"' in printed
    assert printed.count("event: turn.completed") == 2
    assert "null" not in printed.partition('"status": 404')[0].replace(": null", "")
    assert '"code": "not_found"' in printed
