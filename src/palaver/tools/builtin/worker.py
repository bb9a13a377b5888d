"""Work on foreign text that may never end, in a process that can be killed.

Two things take exponential or quadratic time on hostile input and cannot be interrupted in a
thread: regular expressions, and html.parser (60 kB of `<a ` cost it 70 s). Both are done by this
file, run as a script of its own: standard library only, one JSON value in, one out.
"""

import html.parser
import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

_SILENT = {"script", "style", "noscript", "template", "svg", "head", "iframe", "object", "canvas"}
_BREAKS = {
    *("p", "div", "section", "article", "header", "footer", "main", "aside", "nav", "form"),
    *("ul", "ol", "dl", "dt", "dd", "table", "tr", "blockquote", "figure", "figcaption", "br"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "hr", "pre", "li", "address", "details", "summary"),
}
_KEPT_SPACE = "\ue000"
"""Stands for a space within <pre> until lines have been stripped."""
_VOID = {"br", "hr", "img", "input", "meta", "link", "source", "wbr", "area", "base", "col"}


class Page(html.parser.HTMLParser):
    """Readable text of a page: blocks on lines of their own, headings and lists marked, links."""

    def __init__(self, base: str) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._base = base
        self._parts: list[str] = []
        self._silent: list[str] = []
        self._is_title = False
        self._pre = 0
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        if tag == "title" and not self.title:
            self._is_title = True
        if tag == "body":  # also ends a head that was never closed
            self._silent.clear()
        if tag in _SILENT and tag not in _VOID:
            self._silent.append(tag)
        if self._silent:
            return
        if tag in _BREAKS:
            self._parts.append("\n")
        if tag == "pre":
            self._pre += 1
        elif tag == "li":
            self._parts.append("- ")
        elif tag in ("td", "th"):
            self._parts.append(" | ")
        elif re.fullmatch("h[1-6]", tag):
            self._parts.append("\n" + "#" * int(tag[1]) + " ")
        elif tag == "a":
            self._links.append((dict(attrs).get("href") or "", len(self._parts)))
        elif tag == "img" and (text := dict(attrs).get("alt")):
            self._parts.append(f"[image: {text}]")

    def handle_endtag(self, tag: str) -> None:
        """End an element; what was left open inside it ends too."""
        if tag == "title":
            self._is_title = False
        if tag in self._silent:
            while self._silent.pop() != tag:
                pass
            return
        if self._silent:
            return
        if tag == "pre":
            self._pre = max(self._pre - 1, 0)
        if tag == "a" and self._links:
            self._end_link(*self._links.pop())
        elif tag in _BREAKS:
            self._parts.append("\n")

    def _end_link(self, target: str, start: int) -> None:
        text = " ".join("".join(self._parts[start:]).split())
        try:
            address = urljoin(self._base, target.strip())
        except ValueError:
            return
        if text and address.startswith(("http://", "https://")) and not target.startswith("#"):
            self._parts[start:] = [f"[{text}]({address[:500]})"]

    def handle_data(self, data: str) -> None:
        """Take text."""
        if self._is_title:
            self.title += data
        elif not self._silent:
            kept = data.replace(" ", _KEPT_SPACE) if self._pre else re.sub(r"\s+", " ", data)
            self._parts.append(kept)

    def text(self) -> str:
        """All of it, without trailing spaces and runs of empty lines."""
        lines = [line.strip() for line in "".join(self._parts).split("\n")]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        return text.replace(_KEPT_SPACE, " ")


def read_page(task: dict[str, Any]) -> dict[str, Any]:
    """`{"html", "base"}` → `{"title", "text"}`."""
    page = Page(task["base"])
    page.feed(task["html"])
    page.close()
    return {"title": " ".join(page.title.split())[:300], "text": page.text()}


def find(task: dict[str, Any]) -> dict[str, Any]:
    """`{"pattern", "ignore_case", "texts", "limit"}` → `{"hits": [[text number, line number]]}`."""
    try:
        pattern = re.compile(task["pattern"], re.IGNORECASE if task["ignore_case"] else 0)
    except (re.error, RecursionError, OverflowError) as error:
        return {"error": f"not a regular expression: {error}"}
    hits = []
    for hit in _hits(pattern, task["texts"]):
        hits.append(hit)
        if len(hits) >= task["limit"]:
            break
    return {"hits": hits}


def _hits(pattern: re.Pattern[str], texts: list[list[str]]) -> Iterator[tuple[int, int]]:
    for number, lines in enumerate(texts):
        for line, text in enumerate(lines):
            if pattern.search(text):
                yield number, line


def bound(seconds: float) -> None:
    """From so many seconds of processor time on, the system ends this process, where it can."""
    try:
        import resource
    except ImportError:
        return
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), most))


def main() -> None:
    """Read a task from standard input, write its answer to standard output; the argument says how
    many seconds that may take."""
    bound(float(sys.argv[1]))
    task = json.load(sys.stdin.buffer)
    answer = find(task) if task["do"] == "find" else read_page(task)
    sys.stdout.buffer.write(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
