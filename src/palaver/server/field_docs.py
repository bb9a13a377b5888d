"""What the fields of types say in the source, for the OpenAPI document.

A field is explained by the text behind it, which Python does not keep; so it is read from the
source, once, when somebody asks for the document. Where there is no source, there is no text.
"""

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec


def structs_in(kinds: Iterable[Any]) -> Iterator[type]:
    """Every Struct that these types are made of, those within others included."""
    seen: set[type] = set()
    waiting: list[Any] = list(msgspec.inspect.multi_type_info(kinds))
    while waiting:
        each = waiting.pop()
        if isinstance(each, msgspec.inspect.StructType):
            if each.cls in seen:
                continue
            seen.add(each.cls)
            yield each.cls
            waiting += [field.type for field in each.fields]
        elif isinstance(each, msgspec.inspect.Type):
            for value in msgspec.structs.asdict(each).values():
                waiting += value if isinstance(value, tuple | list) else [value]


def docs_of(kind: type) -> dict[str, str]:
    """The text behind each field of a Struct that has one, those of its bases included."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if issubclass(each, msgspec.Struct) and each is not msgspec.Struct:
            found |= _own(each)
    return found


def _own(kind: type) -> dict[str, str]:
    return _texts(kind.__module__).get(kind.__name__, {})


@cache
def _texts(module: str) -> dict[str, dict[str, str]]:
    """Of each class of a module, the text behind each of its fields."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        return {}
    classes = (each for each in ast.parse(source).body if isinstance(each, ast.ClassDef))
    return {each.name: dict(_fields(each)) for each in classes}


def _fields(whole: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, behind in pairwise(whole.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = _text(behind)
            if text:
                yield field.target.id, inspect.cleandoc(text)


def _text(statement: ast.stmt) -> str:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
        return ""
    value = statement.value.value
    return value if isinstance(value, str) else ""
