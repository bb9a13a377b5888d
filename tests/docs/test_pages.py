import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from palaver.testing import ProviderServer
from tests.docs.blocks import PAGES, ROOT, blocks, prose, run_page

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_PYTHON = [page for page in PAGES if any(b.language == "python" for b in blocks(page))]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=_id)
def test_every_python_block_runs(page: Path, reader: ProviderServer) -> None:
    """What the documentation shows works as it is printed, and prints what it says it prints."""
    assert run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    """A relative link names a file that exists, and a heading that it has."""
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{_id(page)} links to {target}, which does not exist"
        if anchor:
            assert anchor in _anchors(found), f"{_id(page)} links to {target}, which has no heading"


def _anchors(page: Path) -> set[str]:
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_file_that_is_named_exists(page: Path) -> None:
    """A path into the sources, tests or scripts that a page names is there."""
    text = page.read_text(encoding="utf-8")
    for named in re.findall(r"`((?:src|tests|scripts|examples|docs)/[\w./-]+)`", text):
        assert (ROOT / named).exists(), f"{_id(page)} names {named}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_target_of_make_that_is_named_exists(page: Path) -> None:
    """`make something` is in the Makefile."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for named in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8")):
        assert named in targets, f"{_id(page)} names the target {named}"


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_nothing_of_the_authors_machine_is_printed(page: Path) -> None:
    """No page names a path that only exists where it was written."""
    assert not re.search(r"/(?:work|root|home/\w+)/", page.read_text(encoding="utf-8"))


SHELL = ROOT / "docs" / "how-to" / "scripts.md"


def test_every_line_for_the_shell_runs(reader: ProviderServer, tmp_path: Path) -> None:
    """The commands on the page about shell scripts end well, one after the other."""
    console = "".join(b.text for b in blocks(SHELL) if b.language == "console")
    script = "set -e\n" + "".join(f"{line[2:]}\n" for line in console.splitlines())
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    ran = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PATH": path},
    )
    assert ran.returncode == 0, ran.stderr
    assert "391" in ran.stdout
    assert (tmp_path / "chat.jsonl").exists()
