"""Markdown as a terminal shows it: rich's, with quieter headings and code that can be copied.

Imported late; rich and its lexers take a tenth of a second.
"""

from collections.abc import Sequence
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.syntax import Syntax
from rich.text import Text

CODE_THEME = "ansi_dark"
"""The terminal's own sixteen colours, which its owner chose to be readable."""


class _Heading(Heading):
    """At the left, without a box."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.justify = "left"
        text.stylize("bold underline" if self.tag == "h1" else "bold")
        yield text


class _Code(CodeBlock):
    """Between two faint lines and not indented, so that it can be copied as it is."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip("\n")
        rule = "─" if console.encoding.startswith("utf") else "-"
        label = "" if self.lexer_name in ("", "text", "default") else f" {self.lexer_name}"
        yield Text(rule * 3 + label, style="dim")
        yield Syntax(
            code, self.lexer_name, theme=CODE_THEME, word_wrap=True, background_color="default"
        )
        yield Text(rule * 3, style="dim")


class Block(Markdown):
    """Some Markdown, to be printed. A link shows its address: it may not hide where it leads."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
    }

    def __init__(self, text: str) -> None:
        super().__init__(text, code_theme=CODE_THEME, hyperlinks=False)


def block_starts(text: str) -> Sequence[int]:
    """The lines on which the top-level blocks of `text` begin."""
    return [
        token.map[0]
        for token in Markdown(text).parsed
        if token.level == 0 and token.nesting >= 0 and token.map
    ]
