"""A conversation as Markdown: everything is in it, and no message swallows another."""

import pytest
from hypothesis import given, strategies as st
from markdown_it import MarkdownIt

from palaver.domain.ids import BlobId, CallId, ConversationId
from palaver.domain.messages import (
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.domain.state import ConversationState
from palaver.domain.values import SessionMetadata, UserPreferences
from palaver.travel import markdown

BLOB = BlobId("sha256:" + "0" * 64)
pieces = st.sampled_from(
    [
        "```",
        "````",
        "~~~",
        "<!--",
        "<script>",
        "</details>",
        "<pre>",
        "text",
        " ",
        "    ",
        "- ",
        ">",
    ]
)


def state_of(*messages: Message, title: str = "Tea", system: str = "") -> ConversationState:
    state = ConversationState(
        ConversationId("c"),
        created_at=1_772_373_900.0,
        metadata=SessionMetadata(title, ("green",)),
        preferences=UserPreferences("anthropic:claude", system),
    )
    for message in messages:
        state = state.with_message(message)
    return state


def called(text: str, arguments: str = '{"q":"tea"}', *, failed: bool = False) -> list[Message]:
    call = ToolCall(CallId("c"), "look_up", arguments)
    result = ToolResult(CallId("c"), "look_up", (Text(text),), failed)
    return [Message(Role.ASSISTANT, (call,)), Message(Role.TOOL, (result,))]


def headings(page: str) -> list[str]:
    tokens = MarkdownIt("commonmark").parse(page)
    found = []
    for at, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2" and token.level == 0:
            found.append(tokens[at + 1].content)
    return found


def test_the_page_tells_title_date_model_and_speakers() -> None:
    """What a reader needs to know about a conversation stands at its beginning."""
    answer = Message(Role.ASSISTANT, (Text("Hello"),), model="anthropic:claude")
    page = markdown.write(state_of(Message.user("Hi"), answer, system="Be brief."))
    assert page == (
        "# Tea\n\n*2026-03-01 14:05 UTC* · *anthropic:claude* · *green*\n\n"
        "## System\n\nBe brief.\n\n## You\n\nHi\n\n## Assistant (anthropic:claude)\n\nHello\n"
    )


def test_a_call_stands_with_its_result() -> None:
    """Arguments are spread over lines, the result is fenced, a failure is said."""
    page = markdown.write(state_of(*called("no net", failed=True)))
    assert '**look\\_up** — failed\n\n```json\n{\n  "q": "tea"\n}\n```\n\n```\nno net\n```' in page
    assert headings(page) == ["Assistant"]


@pytest.mark.parametrize("fold_over, folded", [(2, True), (3, False), (None, False)])
def test_long_output_can_be_folded(fold_over: int | None, folded: bool) -> None:
    """More lines than asked for are folded, and the summary tells how many."""
    page = markdown.write(state_of(*called("a\nb\nc")), fold_over=fold_over)
    assert ("<details>\n<summary>Result: 3 lines</summary>\n\n```\na\nb\nc" in page) is folded


def test_a_fence_is_longer_than_any_within() -> None:
    """Output that holds fences stays within its own."""
    page = markdown.write(state_of(*called("```` \n```\n")))
    assert "\n`````\n```` \n```\n\n`````" in page


def test_a_cut_answer_says_so_and_ends_where_it_ends() -> None:
    """An open code block is closed; the next message is a message."""
    cut = Message(
        Role.ASSISTANT, (Text("```js\nconst x"),), flags=(Flag.PARTIAL,), stop=StopReason.ABORTED
    )
    page = markdown.write(state_of(Message.user("?"), cut, Message.user("On")))
    assert "*[cut: stopped before its end]*" in page
    assert headings(page) == ["You", "Assistant", "You"]


@given(st.lists(st.lists(pieces, max_size=4).map("".join), max_size=6).map("\n".join))
def test_no_message_swallows_the_next_one(text: str) -> None:
    """Whatever a message says, the headings of the others are still headings."""
    page = markdown.write(state_of(Message.user(text), Message.assistant("ok")), reasoning=True)
    assert headings(page)[-1] == "Assistant"


def test_pictures_and_files_are_named() -> None:
    """Addresses of the web are links, everything else is a note; odd names break nothing."""
    blocks = (
        Image(url="https://example.org/a.png", name="a [map]"),
        Image(url="javascript:alert(1)", name="odd"),
        File("application/pdf", BLOB, name="plan\nb.pdf"),
    )
    page = markdown.write(state_of(Message(Role.USER, blocks)))
    assert "Picture: [a \\[map\\]](https://example.org/a.png)" in page
    assert "javascript" not in page
    assert "*[File: plan b.pdf, application/pdf]*" in page


def test_opening_the_file_loads_no_pictures() -> None:
    """A picture that a message refers to becomes a link; in code it stays as it is."""
    text = (
        "![x](https://t.example/p.png) ![two\nlines][1]\n```\n![z](a)\n```\n[1]: https://t.example"
    )
    page = markdown.write(state_of(Message.assistant(text)))
    assert "[x](https://t.example/p.png) [two\nlines][1]\n```\n![z](a)" in page
    assert page.count("![") == 1
    assert "So it was![1]" in markdown.write(state_of(Message.assistant("So it was![1]")))


@pytest.mark.parametrize("piece", ["![", "[", "`", "```\n", "<", "> ", "!"])
def test_odd_text_takes_no_longer(piece: str) -> None:
    """The cost grows with the length: at the cost of its square, a megabyte would take longer than
    a test may."""
    markdown.write(state_of(Message.assistant(piece * (1_000_000 // len(piece)))))


def test_thinking_is_shown_when_asked_for() -> None:
    """By default the page holds what was said, not what was thought."""
    message = Message(
        Role.ASSISTANT, (Reasoning("Hm.\nSo."), Refusal("No."), Unknown("o", "k", ""))
    )
    state = state_of(message)
    assert "Hm." not in markdown.write(state)
    page = markdown.write(state, reasoning=True)
    assert "> Hm.\n> So." in page
    assert "*Declined:* No." in page
    assert "*[k: a kind of content that is not shown]*" in page


def test_a_title_is_one_line_of_text() -> None:
    """Marks within it are shown, not obeyed."""
    page = markdown.write(state_of(title="a\n# <b>*x*"))
    assert page.startswith("# a \\# \\<b\\>\\*x\\*\n")


def test_a_result_without_call_is_not_hidden() -> None:
    """History that was never repaired still shows all it holds."""
    orphan = ToolResult(CallId("z"), "other", (Text("found"),))
    page = markdown.write(state_of(*called("ok")[:1], Message(Role.TOOL, (orphan,))))
    assert "**look\\_up** — no result" in page
    assert "**other** — done\n\n```\nfound\n```" in page
