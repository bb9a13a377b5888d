"""How text becomes search terms, queries and snippets."""

import pytest
from hypothesis import given, strategies as st

from palaver.store.search_text import (
    SNIPPET_CHARS,
    fold,
    fts_expression,
    parse_query,
    snippet,
    terms,
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Zürich, ZU\u0308RICH", ["zurich", "zurich"]),
        ("foo_bar.py", ["foo", "bar", "py"]),
        ("東京都", ["東", "京", "都"]),
        ("a東b", ["a", "東", "b"]),
        ("が カ\u3099", ["が", "ガ"]),
        ("हिन्दी", ["हिन्दी"]),
        ("کِتاب", ["کتاب"]),
        ("ﬁ Ⅷ ½ ｱ", ["fi", "viii", "1", "2", "ア"]),
        ("soft\u00adhyphen zero\u200bwidth", ["softhyphen", "zerowidth"]),
        ("x" * 100, ["x" * 64]),
        ("👩‍👩‍👧 — \x00 \ud800 …", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    """Words are folded, unspaced scripts give characters, nothing else counts."""
    assert terms(text) == expected


def test_decomposed_hangul_is_the_same() -> None:
    """A text and its decomposed form have the same terms."""
    assert terms("\u1112\u1161\u11ab\u1100\u1173\u11af") == terms("한글") == ["한", "글"]


@given(st.text(max_size=60))
def test_folding_twice_changes_nothing(text: str) -> None:
    """Folding has an end, and leaves only words and spaces."""
    assert fold(fold(text)) == fold(text)
    assert all(c == " " or terms(c) for c in fold(text) if c.isalnum())


@given(st.text(max_size=80), st.integers(0, 80), st.integers(1, 80))
def test_a_word_of_a_text_finds_it(text: str, start: int, size: int) -> None:
    """Whole words copied from a text are found in it by their phrases."""
    document = terms(text)
    words = text.split()
    query = " ".join(words[start : start + size])
    assert all(phrase.occurrences(document) for phrase in parse_query(query))


@given(st.text(st.sampled_from("京都東へ"), min_size=1, max_size=9), st.data())
def test_any_part_of_a_run_finds_it(run: str, data: st.DataObject) -> None:
    """In scripts without spaces every substring is found."""
    start = data.draw(st.integers(0, len(run) - 1))
    end = data.draw(st.integers(start + 1, len(run)))
    (phrase,) = parse_query(run[start:end])
    assert phrase.occurrences(terms(run))


@given(st.text(max_size=40))
def test_expressions_hold_no_syntax(query: str) -> None:
    """Within the quotes of an expression there are only terms."""
    for part in fts_expression(parse_query(query)).split(" AND "):
        quoted = part.removesuffix(" *")
        assert quoted == "" or (quoted[0] == quoted[-1] == '"' and '"' not in quoted[1:-1])


@given(st.text(max_size=400), st.text(max_size=10))
def test_snippets_fit(text: str, query: str) -> None:
    """A snippet is one short line, and its spans lie within it, in order."""
    phrases = parse_query(query)
    if not phrases:
        return
    line, spans = snippet(text, phrases)
    assert len(line) <= SNIPPET_CHARS
    assert len(line.splitlines()) <= 1
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert not edges or edges[-1] <= len(line)


def test_snippet_shows_the_match() -> None:
    """A match deep in a text is shown between ellipses."""
    text = "lorem ipsum " * 100 + "the needle, here " + "dolor sit " * 100
    line, (span, *_) = snippet(text, parse_query("needle"))
    assert line[slice(*span)] == "needle"
    assert line[0] == line[-1] == "…"


def test_long_queries_are_bounded() -> None:
    """A pasted page asks for its first words only."""
    assert len(parse_query("word " * 10_000)) == 32
