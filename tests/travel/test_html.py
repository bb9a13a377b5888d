"""The page that stands alone: it reads well, and nothing in it can run or call."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, strategies as st

from palaver.domain.ids import BlobId, CallId, ConversationId
from palaver.domain.messages import (
    Block,
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.domain.state import ConversationState
from palaver.domain.values import SessionMetadata, UserPreferences
from palaver.travel import html, html_page
from palaver.travel.attachments import blob_id
from palaver.travel.html_text import MAX_RENDERED

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
ATTACKS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title></head><body onload=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '" style="background:url(https://evil.example)',
    "<svg/onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "[x](file:///etc/passwd)",
    '[x](https://ok.example "onclick=alert(1)")',
    '[x](https://ok.example/"onmouseover="alert(1))',
    "<javascript:alert(1)>",
    "![x](https://evil.example/p.png)",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "![<script>](x)",
    '```"><script>alert(1)</script>\ncode\n```',
    "```js onclick=alert(1)\n</code></pre><script>\n```",
    "| a |\n|:-:|\n| <script>alert(1)</script> |",
    "}</style>body{background:url(https://evil.example)}",
    "<!--", "]]>", "<![CDATA[", "<base href=//evil.example>",
    '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    "<form action=https://evil.example><input>",
]  # fmt: skip


class _Page(HTMLParser):
    """Every tag with its attributes, and the text, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data


TAGS = re.compile(
    "html|head|meta|title|style|body|header|main|footer|article|div|span|h[1-6]|p|a|ul|ol|li|"
    "blockquote|hr|br|em|strong|s|code|pre|table|thead|tbody|tr|th|td|details|summary|figure|img|"
    "figcaption"
)
ATTRIBUTES = re.compile(
    "lang|dir|charset|name|content|http-equiv|class|id|href|rel|title|aria-label|aria-labelledby|"
    "tabindex|src|alt|start"
)


def inert(page: str) -> _Page:
    """The page's tags; fails when one of them could run, load or send anything."""
    seen = _Page(page)
    for tag, attributes in seen.tags:
        assert TAGS.fullmatch(tag), tag
        assert all(map(ATTRIBUTES.fullmatch, attributes)), (tag, attributes)
        assert re.match(r"$|#m\d+$|https?://|mailto:", attributes.get("href", ""), re.IGNORECASE)
        assert re.match(r"$|data:image/(png|jpeg|gif|webp);base64,", attributes.get("src", ""))
    assert [tag for tag, _ in seen.tags].count("style") == 1
    assert [tag for tag, _ in seen.tags].count("meta") == 5
    return seen


def state_of(
    *messages: Message, title: str = "Tea", system: str = "", model: str = "", tag: str = "t"
) -> ConversationState:
    state = ConversationState(
        ConversationId("c"),
        created_at=1_772_373_900.0,
        metadata=SessionMetadata(title, (tag,)),
        preferences=UserPreferences(model, system),
    )
    for message in messages:
        state = state.with_message(message)
    return state


def nothing(blob: BlobId) -> None:
    """No blob is here."""


def write(*blocks: Block, role: Role = Role.ASSISTANT) -> str:
    return html.write(state_of(Message(role, blocks)), blobs=nothing)


def everywhere(text: str) -> ConversationState:
    """A conversation that says `text` wherever text can stand."""
    call = ToolCall(CallId(text), text, text)
    quoted = ToolCall(CallId("json"), "t", f'{{"a": {text!r}}}')
    gone = blob_id(b"gone")
    result = ToolResult(CallId(text), text, (Text(text), Image(text, gone, name=text)))
    answer = Message(
        Role.ASSISTANT,
        (
            Text(text), Reasoning(text), Refusal(text), Unknown(text, text, text),
            Image(url=text, name=text), File(text, url=text, name=text),
            File(text, gone, name=text), call, quoted,
        ),
        model=text,
    )  # fmt: skip
    picture = Image(text, blob_id(PNG), name=text)
    return state_of(
        Message(Role.USER, (Text(text), picture)),
        answer,
        Message(Role.TOOL, (result,)),
        title=text,
        system=text,
        model=text,
        tag=text,
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_that_was_said_runs_or_calls(attack: str) -> None:
    """Scripts, handlers, odd links, styles and forms are text, wherever they stand."""
    held = {blob_id(PNG): PNG}
    inert(html.write(everywhere(attack), blobs=lambda blob: held.get(blob)))


@given(st.lists(st.sampled_from([*ATTACKS, "\n", " ", "`", "*", "[", "](", ")", "|"]), max_size=5))
def test_nor_does_anything_that_is_made_of_them(parts: list[str]) -> None:
    """Attacks next to and within each other are as harmless."""
    inert(html.write(everywhere("".join(parts)), blobs=nothing))


def test_the_page_forbids_itself_to_load_and_to_run() -> None:
    """Its policy allows the one style sheet, by hash, and pictures within the page."""
    seen = inert(write(Text("hi")))
    policies = [a["content"] for t, a in seen.tags if a.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(html_page.STYLE.encode()).digest()).decode()
    (policy,) = policies
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in html_page.STYLE
    assert "@import" not in html_page.STYLE


def test_markdown_is_rendered() -> None:
    """Headings go below the page's own, tables scroll, code keeps its language, links are safe."""
    text = "# A\n\n| x | y |\n|--|-:|\n| 1 | 2 |\n\n```py\na<b\n```\n[l](https://example.org) ~~s~~"
    page = write(Text(text))
    assert '<h3 dir="auto">A</h3>' in page
    assert '<td class="right">2</td>' in page
    assert '<div class="language">py</div><pre dir="ltr" tabindex="0"><code>a&lt;b' in page
    assert '<a href="https://example.org" rel="noopener noreferrer nofollow">l</a>' in page
    assert "<s>s</s>" in page


def test_lines_of_a_person_end_where_they_ended_them() -> None:
    """In what people type, a line end is one."""
    assert "a<br>\nb" in write(Text("a\nb"), role=Role.USER).replace("<br />", "<br>")
    assert "<br" not in write(Text("a\nb"))


def test_remote_pictures_are_links() -> None:
    """Opening the page tells nobody that it was opened."""
    page = write(Text("![map](https://example.org/m.png)"), Image(url="https://example.org/i.png"))
    assert "<img" not in page
    assert page.count('href="https://example.org/') == 2


def test_pictures_are_within_the_page() -> None:
    """The bytes decide what a picture is; what is none, missing or too large is named."""
    said = tuple(Image("image/png", blob_id(d), name=f"{n}.png") for n, d in enumerate([PNG, b"x"]))
    held = {blob_id(PNG): PNG, blob_id(b"x"): b"<svg onload=alert(1)>"}
    page = html.write(state_of(Message(Role.USER, said)), blobs=lambda blob: held.get(blob))
    encoded = base64.b64encode(PNG).decode()
    assert f'<img src="data:image/png;base64,{encoded}" alt="0.png">' in page
    assert "1.png (not a picture that is shown)" in page
    large = PNG + b"\0" * html.MAX_PICTURE
    page = html.write(state_of(Message(Role.USER, said[:1])), blobs=lambda blob: large)
    assert "too large for this page" in page
    assert len(page) < 100_000


def test_a_call_is_a_card_with_arguments_and_result() -> None:
    """It can be unfolded without a script, and says how it went."""
    call = ToolCall(CallId("c"), "look_up", '{"q":"tea"}')
    result = ToolResult(CallId("c"), "look_up", (Text("no net"),), failed=True)
    state = state_of(Message(Role.ASSISTANT, (call,)), Message(Role.TOOL, (result,)))
    page = html.write(state, blobs=nothing)
    assert '<details class="tool"><summary dir="ltr"><strong>look_up</strong>' in page
    assert '<span class="status failed" lang="en">failed</span>' in page
    assert "&quot;q&quot;: &quot;tea&quot;" in page
    assert "no net" in page


def test_every_message_has_an_anchor_a_direction_and_a_language() -> None:
    """Links lead to messages; text of unknown language says so; blocks choose their direction."""
    state = state_of(Message.user("مرحبا"), Message.assistant("- א\n- ב"), system="Be brief.")
    seen = inert(html.write(state, blobs=nothing))
    articles = [a["id"] for tag, a in seen.tags if tag == "article"]
    links = [a["href"] for tag, a in seen.tags if tag == "a"]
    assert articles == ["m1", "m2", "m3"]
    assert links == ["#m1", "#m2", "#m3"]
    assert sum(a.get("lang") == "" and a.get("dir") == "auto" for _, a in seen.tags) == 3
    assert ("ul", {"dir": "auto"}) in seen.tags
    assert ("li", {}) in seen.tags


def test_a_speaker_who_goes_on_is_named_once() -> None:
    """Between calls the name is hidden from the eye only; another model is named."""
    by = [Message(Role.ASSISTANT, (Text("x"),), model=model) for model in "aab"]
    seen = inert(html.write(state_of(Message.user("?"), *by), blobs=nothing))
    classes = [a["class"] for tag, a in seen.tags if tag == "article"]
    assert classes == ["user", "assistant", "assistant on", "assistant"]
    assert sum(tag == "h2" for tag, _ in seen.tags) == 4


def test_a_cut_answer_says_so() -> None:
    """The note stands behind what had come."""
    message = Message(Role.ASSISTANT, (Text("It is"),), flags=(Flag.PARTIAL,))
    page = html.write(state_of(message), blobs=nothing)
    assert page.index("It is") < page.index("cut: this is not the whole message")


def test_thinking_is_folded_or_left_out() -> None:
    """It is there for who asks for it."""
    state = state_of(Message(Role.ASSISTANT, (Reasoning("Hm."), Text("Yes"))))
    assert '<details class="thought">' in html.write(state, blobs=nothing)
    assert "Hm." not in html.write(state, blobs=nothing, reasoning=False)


def test_long_instructions_are_folded() -> None:
    """The conversation begins on the first screen; the instructions are one key away."""
    page = html.write(state_of(Message.user("Hi"), system="Be brief. " * 200), blobs=nothing)
    assert '<summary lang="en" dir="ltr">Instructions, 2,000 characters</summary>' in page
    assert page.count("Be brief.") == 200
    assert "<details" not in html.write(state_of(system="Be brief."), blobs=nothing)


def test_very_long_text_is_shown_as_it_is() -> None:
    """Rendering costs are bounded; nothing is cut away."""
    page = write(Text("*a* " * (MAX_RENDERED // 4 + 1)))
    assert "<em>" not in page
    assert page.count("*a*") == MAX_RENDERED // 4 + 1


def test_an_empty_conversation_is_a_page() -> None:
    """There is always something to read."""
    seen = inert(html.write(ConversationState(ConversationId("conv_1")), blobs=nothing))
    assert "conv_1" in seen.text
    assert "Nothing has been said yet." in seen.text
