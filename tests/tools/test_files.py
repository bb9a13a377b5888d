"""Files inside allowed folders, and nothing outside."""

import os
from pathlib import Path
from typing import Any

import pytest

from palaver.domain.errors import ConfigurationError
from palaver.domain.ids import CallId
from palaver.domain.messages import ToolCall, ToolResult
from palaver.tools.builtin.files import file_tools
from palaver.tools.builtin.folders import Folders
from palaver.tools.builtin.glob import matcher
from palaver.tools.definition import ExecutionContext
from palaver.tools.manager import ToolManager


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An allowed folder `in`, with secrets beside it and links between them."""
    inside, outside = tmp_path / "in", tmp_path / "in-secret"
    (inside / "src" / "deep").mkdir(parents=True)
    (inside / ".git").mkdir()
    outside.mkdir()
    (outside / "key.txt").write_text("SECRET")
    (inside / "a.txt").write_text("one\ntwo\nthree\n")
    (inside / "src" / "m.py").write_text("def f():\n    return 'needle'\n")
    (inside / "src" / "deep" / "n.py").write_text("x = 'Needle'\n")
    (inside / "blob.bin").write_bytes(b"\x00\x01" * 100)
    (inside / ".env").write_text("SECRET needle")
    (inside / ".git" / "config").write_text("SECRET needle")
    (inside / "link-in").symlink_to(inside / "a.txt")
    (inside / "link-out").symlink_to(outside / "key.txt")
    (inside / "dir-out").symlink_to(outside)
    (inside / "link-hidden").symlink_to(inside / ".env")
    (inside / "loop").symlink_to(inside / "loop")
    os.mkfifo(inside / "pipe")
    return inside


class Run:
    def __init__(self, folders: Folders, context: ExecutionContext) -> None:
        self._manager, self._context = ToolManager(file_tools(folders)), context

    async def __call__(self, name: str, **arguments: Any) -> ToolResult:
        import msgspec

        call = ToolCall(CallId("c"), name, msgspec.json.encode(arguments).decode())
        return await self._manager.execute_tool(call, self._context)


@pytest.fixture
def run(place: Path, context: ExecutionContext) -> Run:
    return Run(Folders([place]), context)


async def test_reading_a_file(run: Run) -> None:
    """The lines come with the range that they are."""
    assert (
        await run("read_file", path="a.txt")
    ).text == "a.txt, lines 1 to 3 of 3\n\none\ntwo\nthree"


async def test_reading_a_range(run: Run) -> None:
    """A range of lines is read, and one behind the end is told."""
    result = await run("read_file", path="a.txt", first_line=2, max_lines=1)
    assert result.text == "a.txt, lines 2 to 2 of 3\n\ntwo"
    assert "there is no line 9" in (await run("read_file", path="a.txt", first_line=9)).text


@pytest.mark.parametrize("path", ["./a.txt", "src/../a.txt", "link-in", "src//..//a.txt"])
async def test_ways_inside_are_allowed(path: str, run: Run) -> None:
    """Any spelling and any link that stays inside is followed."""
    assert "three" in (await run("read_file", path=path)).text


@pytest.mark.parametrize(
    "path",
    [
        "../in-secret/key.txt",
        "src/../../in-secret/key.txt",
        "/etc/passwd",
        "/proc/self/environ",
        "link-out",
        "dir-out/key.txt",
        "dir-out/../in-secret/key.txt",
        "loop",
        ".env",
        ".git/config",
        "src/../.env",
        "link-hidden",
        "~/.ssh/id_rsa",
        "a.txt/../.env",
        "a\x00b",
        "x" * 5000,
        "..",
        "pipe",
        "src",
        "nope.txt",
        "",
        "file:///etc/passwd",
        "..\\in-secret\\key.txt",
        "%2e%2e/in-secret/key.txt",
        "/dev/zero",
    ],
)
async def test_ways_outside_are_refused(path: str, run: Run) -> None:
    """No path leads out of the folder, to hidden files, or to what is no file; nothing hangs."""
    result = await run("read_file", path=path)
    assert result.failed
    assert "SECRET" not in result.text
    assert "root:" not in result.text


def test_exchanged_folder_gains_nothing(place: Path) -> None:
    """A folder that becomes a link between check and open does not lead outside."""
    folders = Folders([place])
    real = folders.locate("src/m.py")
    (place.parent / "in-secret" / "m.py").write_text("SECRET")
    (place / "src").rename(place / "old")
    (place / "src").symlink_to(place.parent / "in-secret")
    with pytest.raises(Exception, match="outside"):
        folders._descriptor(real, "src/m.py")


async def test_absolute_paths_inside_are_allowed_and_shown_relative(run: Run, place: Path) -> None:
    """A model that was told the folder may use whole paths; it sees relative ones."""
    result = await run("read_file", path=str(place / "src" / "m.py"))
    assert result.text.startswith("src/m.py, lines")
    assert str(place) not in result.text


async def test_binary_files_are_not_shown(run: Run) -> None:
    """A file without text is named as such, with its size."""
    assert "binary file of 200 bytes" in (await run("read_file", path="blob.bin")).text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
async def test_encodings(encoding: str, run: Run, place: Path) -> None:
    """UTF-8 and UTF-16 with their marks are read as text."""
    (place / "t.txt").write_text("blåbær\r\nzwei", encoding=encoding)
    assert (await run("read_file", path="t.txt")).text.endswith("\n\nblåbær\nzwei")


async def test_long_lines_are_cut(run: Run, place: Path) -> None:
    """A line of a megabyte does not fill the answer, and the next line is still the second."""
    (place / "t.txt").write_text("x" * 1_000_000 + "\nsecond")
    text = (await run("read_file", path="t.txt")).text
    assert len(text) < 3_000
    assert text.endswith("(line cut)\nsecond")


async def test_listing(run: Run) -> None:
    """A folder's names, folders marked, sizes told, hidden names left out."""
    lines = (await run("list_files")).text.splitlines()
    assert "src/" in lines
    assert "a.txt (14 bytes)" in lines
    assert "link-out -> (link)" in lines
    assert not any(".git" in line or ".env" in line for line in lines)


@pytest.mark.parametrize(
    "pattern, found",
    [
        ("*.py", ["src/m.py", "src/deep/n.py"]),
        ("src/*.py", ["src/m.py"]),
        ("src/**/*.py", ["src/m.py", "src/deep/n.py"]),
        ("**/deep/*", ["src/deep/n.py"]),
        ("*.rs", None),
    ],
)
async def test_listing_by_pattern(pattern: str, found: list[str] | None, run: Run) -> None:
    """A pattern without `/` fits names anywhere, one with it fits paths."""
    text = (await run("list_files", pattern=pattern)).text
    assert text.splitlines() == found if found else "Nothing" in text


async def test_links_to_folders_are_not_entered(run: Run) -> None:
    """A search does not leave through a link."""
    assert "key" not in (await run("list_files", pattern="*.txt")).text
    assert "No line" in (await run("search_files", query="SECRET")).text
    assert (await run("list_files", path="dir-out")).failed


async def test_search(run: Run) -> None:
    """Lines with the text, as path, number and line."""
    assert (await run("search_files", query="needle")).text == "src/m.py:2:     return 'needle'"
    both = (await run("search_files", query="needle", ignore_case=True)).text
    assert both.splitlines()[1:] == ["src/deep/n.py:1: x = 'Needle'"]
    assert "No line has" in (await run("search_files", query="needle", pattern="*.txt")).text
    one = await run("search_files", query="needle", path="src/m.py")
    assert one.text.startswith("src/m.py:2")
    first = await run("search_files", query="e", max_hits=1)
    assert "only the first 1 lines" in first.text


async def test_regex_search(run: Run) -> None:
    """A regular expression finds lines; a broken one is an error."""
    assert (await run("search_files", query=r"return '\w+'$", regex=True)).text == (
        "src/m.py:2:     return 'needle'"
    )
    assert "not a regular expression" in (await run("search_files", query="(", regex=True)).text


@pytest.mark.long
async def test_endless_regex_is_stopped(run: Run, place: Path) -> None:
    """A pattern that would take for ever is stopped."""
    (place / "t.txt").write_text("a" * 60 + "!")
    result = await run("search_files", query="(a+)+$", regex=True, path="t.txt")
    assert "took longer" in result.text


async def test_several_folders(tmp_path: Path, context: ExecutionContext) -> None:
    """Of several folders each has a name, which paths begin with."""
    for parent in ("a", "b"):
        (tmp_path / parent / "docs").mkdir(parents=True)
        (tmp_path / parent / "docs" / f"{parent}.txt").write_text(f"in {parent}")
    run = Run(Folders([tmp_path / "a" / "docs", tmp_path / "b" / "docs"]), context)
    assert (await run("list_files")).text == "docs/\ndocs-2/"
    assert (await run("list_files", pattern="*.txt")).text == "docs/a.txt\ndocs-2/b.txt"
    assert "in b" in (await run("read_file", path="docs-2/b.txt")).text
    assert "in b" in (await run("read_file", path="b.txt")).text
    assert (await run("list_files", path="docs-2")).text == "b.txt (4 bytes)"


def test_folder_must_exist(tmp_path: Path) -> None:
    """A folder that is none is an error of the configuration."""
    with pytest.raises(ConfigurationError):
        Folders([tmp_path / "nope"])


def test_pattern_with_many_stars_is_quick() -> None:
    """No pattern makes matching slow: trying every way would take longer than a test may."""
    assert not matcher("*a" * 100 + "b")("a" * 255)
    assert not matcher("**/" * 50 + "b")("/".join("a" * 100))
