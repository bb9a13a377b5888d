"""Statistics of failures: by class, model and time, bounded."""

from palaver.domain.errors import Overloaded, RateLimited
from palaver.recovery.analytics import OTHER, ErrorAnalytics
from palaver.recovery.classification import ErrorClassification, classify

NOW = 1_700_000_000.0


def seen(*failures: tuple[Exception, str, float]) -> ErrorAnalytics:
    analytics = ErrorAnalytics()
    for error, model, ago in failures:
        assert isinstance(error, Overloaded | RateLimited)
        analytics.failed(classify(error), model, error.info(), at=NOW - ago)
    return analytics


def test_failures_are_told_by_class_and_model() -> None:
    """Who failed how often, and the newest example first."""
    analytics = seen(
        (Overloaded("busy"), "a:1", 30), (Overloaded("still"), "a:1", 5), (RateLimited("r"), "b", 9)
    )
    analytics.succeeded("a:1", at=NOW)
    report = analytics.report(at=NOW)
    assert report.by_kind == {"overload": 2, "rate_limit": 1}
    assert report.by_model == {"a:1": 2, "b": 1}
    assert (report.calls, report.failures, report.rate) == (4, 3, 0.75)
    assert [e.error.message for e in report.examples] == ["still", "r", "busy"]


def test_one_model_can_be_asked_for() -> None:
    """The others do not show."""
    analytics = seen((Overloaded("x"), "a:1", 1), (RateLimited("y"), "b", 1))
    report = analytics.report(at=NOW, model="b")
    assert (report.by_kind, report.calls, len(report.examples)) == ({"rate_limit": 1}, 1, 1)


def test_what_is_long_ago_is_forgotten() -> None:
    """Only the asked-for time counts, an hour at most."""
    analytics = seen((Overloaded("old"), "a", 3000), (Overloaded("new"), "a", 10))
    assert analytics.report(at=NOW, seconds=600).failures == 1
    assert analytics.report(at=NOW).failures == 2


def test_memory_is_bounded() -> None:
    """Any number of models, minutes and failures is counted in bounded space."""
    analytics = ErrorAnalytics()
    for number in range(2000):
        error = Overloaded("x").info()
        analytics.failed(ErrorClassification.OVERLOAD, f"m:{number}", error, at=NOW)
    report = analytics.report(at=NOW)
    assert (report.failures, len(report.examples), len(report.by_model)) == (2000, 5, 65)
    assert report.by_model[OTHER] == 2000 - 64
