"""What a docstring says to the model: the first paragraph, and a line for each parameter.

The three styles in use are read: Google (`Args:`), NumPy (`Parameters` underlined) and Sphinx
(`:param name:`). What is not understood is left out, never guessed.
"""

import inspect
import re
from collections.abc import Iterator

_SPHINX = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)")
_GOOGLE_HEAD = re.compile(r"(args|arguments|parameters|params)\s*:", re.IGNORECASE)
_GOOGLE_ITEM = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY_ITEM = re.compile(r"([\w*, ]+?)\s*(?::.*)?")
_UNDERLINE = re.compile(r"-{3,}")


def parse(docstring: str | None) -> tuple[str, dict[str, str]]:
    """The first paragraph as one line, and parameter name → description."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    described: dict[str, str] = {}
    for items in (_sphinx(lines), _google(lines), _numpy(lines)):
        for name, text in items:
            described.setdefault(name, text)
    return _summary(lines), {name: text for name, text in described.items() if text}


def _summary(lines: list[str]) -> str:
    paragraph: list[str] = []
    for number, line in enumerate(lines):
        is_section = _GOOGLE_HEAD.fullmatch(line.strip()) or line.lstrip().startswith(":param")
        if is_section or _is_numpy_head(lines, number) or (not line.strip() and paragraph):
            break
        if line.strip():
            paragraph.append(line.strip())
    return " ".join(paragraph)


def _sphinx(lines: list[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines):
        if found := _SPHINX.match(line.strip()):
            yield found[1], _joined(found[2], _continuation(lines, number, _indent(line)))


def _google(lines: list[str]) -> Iterator[tuple[str, str]]:
    for start, line in enumerate(lines):
        if not _GOOGLE_HEAD.fullmatch(line.strip()):
            continue
        outer, inner = _indent(line), None
        for number in range(start + 1, len(lines)):
            current = lines[number]
            if not current.strip():
                continue
            if _indent(current) <= outer:
                break
            inner = _indent(current) if inner is None else inner
            found = _GOOGLE_ITEM.fullmatch(current.strip())
            if found and _indent(current) == inner:
                yield found[1], _joined(found[2], _continuation(lines, number, inner))


def _numpy(lines: list[str]) -> Iterator[tuple[str, str]]:
    for start, line in enumerate(lines):
        if line.strip().lower() != "parameters" or not _is_numpy_head(lines, start):
            continue
        outer = _indent(line)
        for number in range(start + 2, len(lines)):
            current = lines[number]
            if _is_numpy_head(lines, number):
                break
            found = _NUMPY_ITEM.fullmatch(current.strip())
            if current.strip() and _indent(current) == outer and found:
                text = _joined("", _continuation(lines, number, outer))
                for name in found[1].split(","):
                    yield name.strip().lstrip("*"), text


def _is_numpy_head(lines: list[str], number: int) -> bool:
    below = lines[number + 1].strip() if number + 1 < len(lines) else ""
    return bool(lines[number].strip()) and _UNDERLINE.fullmatch(below) is not None


def _continuation(lines: list[str], number: int, indent: int) -> Iterator[str]:
    for line in lines[number + 1 :]:
        if not line.strip() or _indent(line) <= indent:
            return
        yield line.strip()


def _joined(first: str, rest: Iterator[str]) -> str:
    return " ".join(part for part in (first.strip(), *rest) if part)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
