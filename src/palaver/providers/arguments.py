"""When the arguments of a tool call are complete, for wires that do not say so.

Arguments are one JSON object, so they are complete as soon as its closing brace has come. Parsing
again whenever a delta ends in `}` would cost the square of the length; this looks at every
character once, by jumping from one structural character to the next.
"""

import re

_OUTSIDE = re.compile(r'["{}\[\]]')
_IN_TEXT = re.compile(r'["\\]')
_BLANK = " \t\r\n"


class ObjectScanner:
    """Told the pieces of a JSON text, it knows when the root object is closed.

    A text whose root is no object never closes; what comes behind the closed object is ignored.
    Valid JSON is taken for granted: brackets are counted, not matched.
    """

    __slots__ = ("_depth", "_escaped", "_in_text", "closed", "hopeless")

    def __init__(self) -> None:
        self._depth = 0
        self._in_text = False
        self._escaped = False
        self.closed = False
        """Whether the root object is complete."""
        self.hopeless = False
        """Whether the root is something else than an object, so that it never will be."""

    def feed(self, text: str) -> bool:
        """Look at the next piece. Returns whether the root object is closed by now."""
        if self.closed or self.hopeless or not text:
            return self.closed
        at = 0
        if not self._depth:
            rest = text.lstrip(_BLANK)
            if not rest:
                return False
            if rest[0] != "{":
                self.hopeless = True
                return False
            at = len(text) - len(rest)
        return self._scan(text, at)

    def _scan(self, text: str, at: int) -> bool:
        if self._escaped:
            self._escaped = False
            at += 1
        depth, in_text = self._depth, self._in_text
        while found := (_IN_TEXT if in_text else _OUTSIDE).search(text, at):
            at = found.end()
            mark = found[0]
            if mark == '"':
                in_text = not in_text
            elif mark == "\\":
                if at == len(text):
                    self._escaped = True
                    break
                at += 1
            elif mark in "{[":
                depth += 1
            else:
                depth -= 1
                if not depth:
                    self.closed = True
                    break
        self._depth, self._in_text = depth, in_text
        return self.closed
