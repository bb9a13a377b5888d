"""Markdown from models and people as HTML that can do nothing but be read.

Markup within it shows as text; pictures become links, for a page must not call anybody when it is
opened; a link leads to the web or to a mail address, never to a script. Styles come from classes
alone, so that the page's policy can forbid the rest.
"""

import re
from collections.abc import Sequence
from functools import cache
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

MAX_RENDERED = 100_000
"""Characters of one block beyond which it is shown as it is; the worst of that length takes some
seconds to render."""
_SAFE = re.compile(r"(https?://|mailto:)[^\x00-\x20]*$", re.IGNORECASE)
_LOWERED = {"h1": "h3", "h2": "h4", "h3": "h5", "h4": "h6", "h5": "h6", "h6": "h6"}
_REL = "noopener noreferrer nofollow"


def rendered(text: str, *, breaks: bool = False) -> str:
    """`text` as HTML. With `breaks` a line ends where its writer ended it."""
    if len(text) > MAX_RENDERED:
        return plain(text)
    parser = _parser(breaks)
    tokens = parser.parse(text)
    for token in tokens:
        _settle(token)
    return str(parser.renderer.render(tokens, parser.options, {}))


def plain(text: str, kind: str = "") -> str:
    """`text` as it is, spaces and line ends kept."""
    named = f' class="{escape(kind)}"' if kind else ""
    return f'<pre{named} dir="auto" tabindex="0"><code>{escape(text)}</code></pre>\n'


def linked(url: str, text: str) -> str:
    """A link where `url` is one that may be followed, else both as text."""
    if not is_safe(url):
        return f"{escape(text)} <code>{escape(url)}</code>" if url != text else escape(text)
    return f'<a href="{escape(url)}" rel="{_REL}">{escape(text)}</a>'


def is_safe(url: str) -> bool:
    """Whether a link may lead there: the web or a mail address."""
    return _SAFE.match(url) is not None


@cache
def _parser(breaks: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": breaks})
    parser.enable(["table", "strikethrough"])
    parser.validateLink = is_safe  # type: ignore[method-assign]
    # Where `html` is off these rules only cost time.
    parser.disable(["html_block", "html_inline"])
    parser.add_render_rule("image", _picture)
    parser.add_render_rule("fence", _code)
    parser.add_render_rule("code_block", _code)
    parser.add_render_rule("table_open", _table_begins)
    parser.add_render_rule("table_close", _table_ends)
    return parser


def _settle(token: Token) -> None:
    """Headings below the page's own, a direction for each block, classes in place of styles."""
    if token.type in ("heading_open", "heading_close"):
        token.tag = _LOWERED[token.tag]
    # Outermost blocks only: one with a direction of its own does not count for the one around it.
    if token.nesting == 1 and token.level == 0:
        token.attrSet("dir", "auto")
    if style := token.attrs.pop("style", None):
        token.attrSet("class", str(style).removeprefix("text-align:"))
    for child in token.children or ():
        if child.type == "link_open":
            child.attrSet("rel", _REL)


def _picture(
    self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: EnvType
) -> str:
    token = tokens[at]
    told = self.renderInlineAsText(token.children or [], options, env)
    address = str(token.attrs.get("src", ""))
    return linked(address, f"🖼 {told or address}") if address else escape(told)


def _code(
    self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: EnvType
) -> str:
    language = tokens[at].info.split()[0][:40] if tokens[at].info.strip() else ""
    label = f'<div class="language">{escape(language)}</div>' if language else ""
    code = escape(tokens[at].content)
    return f'<div class="code">{label}<pre dir="ltr" tabindex="0"><code>{code}</code></pre></div>\n'


def _table_begins(
    self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: EnvType
) -> str:
    return '<div class="wide" dir="auto" tabindex="0"><table>\n'


def _table_ends(
    self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: EnvType
) -> str:
    return "</table></div>\n"
