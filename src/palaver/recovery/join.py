"""Joining the two halves of an answer whose stream broke, without a character twice or missing.

A model that is asked to go on may do one of three things: go on directly, repeat the end of what it
had said and go on, or begin again from the start. The text that has been shown cannot be taken
back, so what comes is held back until it is known which. In theory:

    said      what was shown                                        "… and then the fox ju"
    coming    what the second stream says                            "then the fox jumped over"
    overlap   the longest end of `said` that begins `coming`          "then the fox ju"
    shown     `coming` without the overlap                                            "mped over"

An overlap shorter than `MIN_OVERLAP` may be chance. While `coming` may still turn out to be an
overlap, it is held back; a model that repeats everything is silent for that long. A text that
repeats itself (rows of a table) has several ends that fit, so a model is asked to begin with a
given end, the *anchor*; if it does, that is the overlap.
"""

import msgspec

MIN_OVERLAP = 12
"""Characters; shorter agreements happen by chance."""


class Joined(msgspec.Struct, frozen=True):
    """How two halves fit. `is_exact`: the second one repeated the end of the first, or its provider
    promises to continue; else nothing proves that no word is missing between them."""

    is_exact: bool
    overlap: int
    """Characters that came twice and were shown once."""


class Joiner:
    """Takes the second half as it comes and gives what of it is new.

    `anchor`: the end of `said`, without white space behind it, that the model was asked to begin
    with. `continues`: the provider goes on exactly where it was cut (a prefilled answer); nothing
    can come twice but white space at the end, which providers do not take.
    """

    def __init__(self, said: str, *, anchor: str = "", continues: bool = False) -> None:
        self._said, self._anchor = said, anchor
        is_whole = bool(anchor) and said.endswith(anchor)
        self._space = "" if is_whole else said[len(said.rstrip()) :]
        self._continues = continues
        self._held = ""
        self.joined: Joined | None = None

    def add(self, text: str) -> str:
        """What may be shown now; empty while it is not yet clear."""
        if self.joined is not None:
            return text
        self._held += text
        return self._decide(is_over=False)

    def end(self) -> str:
        """What is left when the second half is over."""
        return "" if self.joined is not None else self._decide(is_over=True)

    def _decide(self, *, is_over: bool) -> str:
        if self._continues:
            return self._after_space(0, is_over=is_over)
        coming, anchor = self._held, self._anchor
        for lead in (0, len(coming) - len(coming.lstrip())):
            if anchor and coming.startswith(anchor, lead):
                return self._after_space(lead + len(anchor), is_over=is_over)
            if not is_over and anchor.startswith(coming[lead:]):
                return ""
        if not is_over and self._may_repeat(coming):
            return ""
        overlap = _overlap(self._said, coming)
        if overlap >= self._least:
            return self._settle(Joined(is_exact=True, overlap=overlap))
        return self._settle(Joined(is_exact=False, overlap=0))

    @property
    def _least(self) -> int:
        return min(MIN_OVERLAP, len(self._said))

    def _may_repeat(self, coming: str) -> bool:
        """Whether more text could still make an overlap, or a longer one."""
        # It stands within what was said, with enough behind its beginning.
        at = self._said.find(coming, 0, len(self._said) - 1)
        return 0 <= at <= len(self._said) - self._least

    def _after_space(self, start: int, *, is_over: bool) -> str:
        """From `start` on the text is new, but for the white space that `said` ends with: it was
        not sent, and may come again."""
        coming = self._held[start:]
        is_open = len(coming) < len(self._space) and self._space.startswith(coming)
        if is_open and not is_over:
            return ""
        repeated = 0
        while repeated < len(self._space) and coming.startswith(self._space[: repeated + 1]):
            repeated += 1
        return self._settle(Joined(is_exact=True, overlap=start + repeated))

    def _settle(self, joined: Joined) -> str:
        self.joined = joined
        new, self._held = self._held[joined.overlap :], ""
        return new


def _overlap(said: str, coming: str) -> int:
    """Length of the longest end of `said` that `coming` begins with."""
    pattern = coming[: len(said)]
    if not pattern:
        return 0
    # Knuth, Morris and Pratt: the prefix function of `pattern` run over the end of `said`.
    fail = [0] * len(pattern)
    matched = 0
    for at in range(1, len(pattern)):
        while matched and pattern[at] != pattern[matched]:
            matched = fail[matched - 1]
        matched += pattern[at] == pattern[matched]
        fail[at] = matched
    matched = 0
    for char in said[-len(pattern) :]:
        if matched == len(pattern):
            matched = fail[matched - 1]
        while matched and char != pattern[matched]:
            matched = fail[matched - 1]
        matched += char == pattern[matched]
    return matched
