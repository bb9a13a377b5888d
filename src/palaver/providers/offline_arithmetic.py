"""Finds arithmetic in running text, in any language that writes digits.

Nothing is calculated here: an expression is cut out as the calculator understands it. Dates,
ranges, versions and phone numbers are left alone, unless the text asks for a calculation.
"""

import re
from collections.abc import Iterator

import msgspec

_FUNCTIONS = "sqrt|sin|cos|tan|log10|log2|log|ln|exp|abs|round|floor|ceil|min|max|factorial|gcd"
_WORDS: tuple[tuple[str, str], ...] = (
    (r"\b(?:the\s+)?(?:square\s+root\s+of|sqrt)\s*(?=[\d.(])|√", " sqrt "),
    (r"\bmultiplied\s+by\b|\btimes\b|\bmal\b|\bfois\b|乘以|乘|かける|[×·∙⋅]", "*"),
    (r"\bdivided\s+by\b|\bgeteilt\s+durch\b|\bdivisé\s+par\b|除以|わる|÷", "/"),
    (r"(?<=[\d)])\s*\b(?:plus|más)\b|加上|加|たす", "+"),
    (r"(?<=[\d)])\s*\b(?:minus|menos|moins)\b|减去|减|ひく|[−–](?=\s*\d)", "-"),
    (r"\bto\s+the\s+power\s+of\b|\bhoch\b|\^", "**"),
    (r"(?<=[\d)])\s*\bsquared\b|²", "**2"),
    (r"(?<=[\d)])\s*\bcubed\b|³", "**3"),
    (r"(?:%|\bper\s?cent\b|\bprozent\b)\s*(?:of|von|de|di|av)\b", "% of"),
    (r"(?<=\d)\s*\bper\s?cent\b", "%"),
    (r"\bmod(?:ulo)?\b(?=\s*\d)", "%"),
    (r"(?<!\b0)(?<=\d)\s*[xX]\s*(?=\d)", "*"),
    (r"π", "pi"),
    (r"(?<![\w.])(\d+(?:\.\d+)?)\s*\(", r"\1*("),
    (r"\)\s*\(", ")*("),
)
_TOKEN = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![a-zA-Z])|\.\d+)"
    rf"|(?P<function>\b(?:{_FUNCTIONS})\b)"
    r"|(?P<constant>\b(?:pi|tau|e)\b)"
    r"|(?P<binary>\*\*|//|[*/]|\bof\b)|(?P<sign>[-+])|(?P<percent>%)|(?P<fact>!(?!=))"
    r"|(?P<open>\()|(?P<close>\))|(?P<comma>,)|(?P<other>\S)"
)  # fmt: skip
_CUE = re.compile(
    r"what(?:'s|’s|\s+is|\s+are)\b|calc|comput|evaluat|how\s+(?:much|many)|solve|berechn|rechne"
    r"|wie\s?viel|was\s+(?:ist|sind)|combien|cu[aá]nto|quanto|сколько|多少|いくつ|얼마|=",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"\d+(?:\s*[-/]\s*\d+)+")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}")
_MOST = 500
"""Characters of an expression."""
_LONGEST = 2_000
"""Characters of a text that is searched; numbers in a longer one are its content."""


class Expression(msgspec.Struct, frozen=True):
    """An expression and where the text that it was read from begins."""

    text: str
    at: int


def expressions(text: str) -> Iterator[Expression]:
    """The calculations that `text` asks for, in order."""
    if len(text) > _LONGEST:
        return
    is_asked = _CUE.search(text) is not None
    written = text
    for pattern, replacement in _WORDS:
        written = re.sub(pattern, replacement, written, flags=re.IGNORECASE)
    # A comma between digits that groups no thousands is a decimal comma, outside of functions.
    if not re.search(rf"\b(?:{_FUNCTIONS})\s*\(", written):
        written = re.sub(r"(?<![\d,.])(\d+),(\d{1,2}|\d{4,})(?![\d,])", r"\1.\2", written)
    for run in _runs(written):
        cut = _cut(run)
        if cut and _is_meant(written, cut, is_asked):
            found = re.sub(r"\bsqrt\s+([\d.]+)", r"sqrt(\1)", _joined(written, cut))
            found = found.replace("sqrt (", "sqrt(")
            yield Expression(found, min(cut[0].start(), len(text)))


def _runs(text: str) -> Iterator[list[re.Match[str]]]:
    run: list[re.Match[str]] = []
    ready = False  # whether an operand is complete
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        is_operand = kind in ("number", "function", "constant", "open")
        if kind == "open" and run and run[-1].lastgroup == "function":
            ready = False
        if kind == "other" or (is_operand and ready) or (is_operand and _breaks(run, token)):
            yield run
            run, ready = [], False
        if kind == "other":
            continue
        run.append(token)
        ready = kind in ("number", "constant", "close", "fact", "percent")
        if kind == "percent" and re.match(r"\s*(?:\d|\()", text[token.end() :]):
            ready = False  # a remainder, not per cent
    yield run


def _breaks(run: list[re.Match[str]], token: re.Match[str]) -> bool:
    return bool(run) and run[-1].lastgroup == "function" and token.lastgroup != "open" and (
        run[-1].group() != "sqrt" or token.lastgroup != "number"
    )  # fmt: skip


def _cut(run: list[re.Match[str]]) -> list[re.Match[str]]:
    """The longest sound expression in a run: no dangling operators, parentheses in balance."""
    while run and run[0].lastgroup in ("binary", "percent", "fact", "close", "comma"):
        run = run[1:]
    while run and not _is_sound(run):
        run = run[:-1] if run[0].lastgroup != "open" or _closes(run) else run[1:]
    return run


def _closes(run: list[re.Match[str]]) -> bool:
    depth = 0
    for token in run:
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if depth == 0:
            return True
    return False


def _is_sound(run: list[re.Match[str]]) -> bool:
    depth, functions = 0, [False]
    for before, token in zip([None, *run], run, strict=False):
        kind, last = token.lastgroup, before.lastgroup if before else None
        starts = last in (None, "binary", "sign", "open", "comma")
        if kind in ("binary", "close", "fact", "comma") and starts:
            return False
        if kind == "open":
            functions.append(last == "function")
        depth += (kind == "open") - (kind == "close")
        if depth < 0 or (kind == "comma" and not functions[-1]):
            return False
        if kind == "close":
            functions.pop()
    return depth == 0 and run[-1].lastgroup in ("number", "constant", "close", "fact", "percent")


def _is_meant(text: str, cut: list[re.Match[str]], is_asked: bool) -> bool:
    start, end = cut[0].start(), cut[-1].end()
    kinds = {token.lastgroup for token in cut}
    if end - start > _MOST or "number" not in kinds:
        return False
    if re.match(r"[A-Za-z0-9_/\\@#:]", text[end : end + 1]) or re.search(
        r"[A-Za-z0-9_/\\@#:.$]$", text[max(0, start - 1) : start]
    ):
        return False
    has_operator = "function" in kinds or any(
        token.lastgroup in ("binary", "sign", "percent") for token in cut[1:-1]
    )
    covers = (end - start) >= 0.9 * len(text.strip(" \t\n?=."))
    if not has_operator:
        return (is_asked or covers) and "fact" in kinds
    found = text[start:end]
    if _DATE.fullmatch(found):
        return False
    return is_asked or covers or not _PLAIN.fullmatch(found)


def _joined(text: str, cut: list[re.Match[str]]) -> str:
    return re.sub(r"\s+", " ", text[cut[0].start() : cut[-1].end()]).strip()
