"""What has gone wrong lately, and how often: by class, by model, by minute.

Bounded whatever happens: counts are kept per minute for the last hour, examples are the newest few
of each class. Messages of provider errors come here cleaned (`providers/failures`): short, on one
line, without secrets.
"""

from collections import Counter, OrderedDict, deque

import msgspec

from palaver.domain.values import ErrorInfo
from palaver.recovery.classification import ErrorClassification

_MINUTES = 60
_EXAMPLES = 5
_MODELS = 64
"""Models told apart within a minute; names come from users, so there may be any number."""
OTHER = "(other)"


class ErrorExample(msgspec.Struct, frozen=True):
    """One failure as it was seen. `at`: seconds since 1970."""

    at: float
    kind: ErrorClassification
    model: str
    error: ErrorInfo


class ErrorReport(msgspec.Struct, frozen=True):
    """Failures and calls of the last `seconds`."""

    seconds: float
    calls: int
    failures: int
    by_kind: dict[str, int]
    by_model: dict[str, int]
    examples: tuple[ErrorExample, ...]
    """The newest of each class, newest first."""

    @property
    def rate(self) -> float:
        """Failed share of all attempts, 0 to 1."""
        return self.failures / self.calls if self.calls else 0.0


class _Minute:
    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.failures: Counter[tuple[ErrorClassification, str]] = Counter()


class ErrorAnalytics:
    """Counts attempts and their failures. Used from one thread."""

    def __init__(self) -> None:
        self._minutes: OrderedDict[int, _Minute] = OrderedDict()
        self._examples: dict[ErrorClassification, deque[ErrorExample]] = {}
        self._now, self._began = _Minute(), 0.0
        """The minute that was counted in last, and when it began."""

    def succeeded(self, model: str, *, at: float) -> None:
        """An attempt was answered."""
        if 0.0 <= at - self._began < 60.0 and model in self._now.calls:
            self._now.calls[model] += 1  # every healthy call goes this way
            return
        minute = self._minute(at)
        minute.calls[_bounded(minute, model)] += 1

    def failed(self, kind: ErrorClassification, model: str, error: ErrorInfo, *, at: float) -> None:
        """An attempt failed."""
        minute = self._minute(at)
        name = _bounded(minute, model)
        minute.calls[name] += 1
        minute.failures[kind, name] += 1
        seen = self._examples.setdefault(kind, deque(maxlen=_EXAMPLES))
        seen.append(ErrorExample(at, kind, model, error))

    def report(self, *, at: float, seconds: float = 3600.0, model: str = "") -> ErrorReport:
        """The last `seconds` (an hour at most), of one model or of all."""
        first = int((at - seconds) // 60)
        calls: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        models: Counter[str] = Counter()
        for number, minute in self._minutes.items():
            if number <= first:
                continue
            calls.update({m: n for m, n in minute.calls.items() if model in ("", m)})
            for (kind, name), count in minute.failures.items():
                if model in ("", name):
                    kinds[kind.value] += count
                    models[name] += count
        examples = [
            example
            for seen in self._examples.values()
            for example in seen
            if example.at >= at - seconds and model in ("", example.model)
        ]
        examples.sort(key=lambda example: -example.at)
        return ErrorReport(
            seconds,
            calls.total(),
            kinds.total(),
            dict(kinds.most_common()),
            dict(models.most_common()),
            tuple(examples),
        )

    def _minute(self, at: float) -> _Minute:
        number = int(at // 60)
        minute = self._minutes.get(number)
        if minute is None:
            minute = self._minutes[number] = _Minute()
            while len(self._minutes) > _MINUTES:
                self._minutes.popitem(last=False)
        self._now, self._began = minute, number * 60.0
        return minute


def _bounded(minute: _Minute, model: str) -> str:
    is_known = model in minute.calls or len(minute.calls) < _MODELS
    return model if is_known else OTHER
