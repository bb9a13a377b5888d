"""Takes code out of Markdown files and runs it as a reader would: from top to bottom."""

import ast
import asyncio
import contextlib
import inspect
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of its first character (from 1)."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page."""
    whole = page.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], whole.count("\n", 0, found.start(2)) + 1)
        for found in _FENCE.finditer(whole)
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def run_page(page: Path) -> int:
    """Run every Python block of a page in one namespace; returns how many there were.

    Top-level `await` works as in `python -m asyncio`. A block in the language `output` must be what
    the block before it printed; `...` in it stands for anything.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    count, printed = 0, ""
    with asyncio.Runner() as runner:
        for block in blocks(page):
            where = f"{page.relative_to(ROOT)}, line {block.line}"
            if block.language == "python":
                count += 1
                printed = _run(block, page, namespace, runner)
            elif block.language == "output":
                assert _fits(block.text, printed), f"{where}: it printed\n{printed}"
    return count


def _run(block: Block, page: Path, namespace: dict[str, Any], runner: asyncio.Runner) -> str:
    code = compile(
        "\n" * (block.line - 1) + block.text,  # tracebacks then name the page's own lines
        str(page),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(_awaited(code, namespace))
        else:
            exec(code, namespace)
    return out.getvalue()


async def _awaited(code: Any, namespace: dict[str, Any]) -> None:
    await eval(code, namespace)


def _fits(wanted: str, printed: str) -> bool:
    pattern = ".*?".join(re.escape(part) for part in wanted.strip().split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
