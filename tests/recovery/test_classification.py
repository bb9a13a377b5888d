"""Every failure has a class, and the class says what may be done about it."""

import inspect

import pytest

from palaver.domain import errors
from palaver.domain.errors import ProviderError
from palaver.recovery.classification import ErrorClassification, classify, traits

PROVIDER_ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ProviderError) and kind is not ProviderError
]


@pytest.mark.parametrize("kind", PROVIDER_ERRORS, ids=lambda kind: kind.__name__)
def test_no_provider_error_is_without_a_class(kind: type[ProviderError]) -> None:
    """A new type of error needs a row in the table."""
    error = kind.__new__(kind)
    assert classify(error) is not ErrorClassification.UNKNOWN


@pytest.mark.parametrize("kind", PROVIDER_ERRORS, ids=lambda kind: kind.__name__)
def test_what_passes_by_itself_is_what_the_type_calls_retryable(
    kind: type[ProviderError],
) -> None:
    """Class and type agree; an open breaker is the exception: it is waited for, not repeated."""
    found = classify(kind.__new__(kind))
    expected = kind.retryable and found is not ErrorClassification.UNAVAILABLE
    assert traits(found).passes == expected


def test_of_the_unknown_nothing_good_is_assumed() -> None:
    """What Palaver does not know is neither repeated nor counted against anybody."""
    found = classify(ZeroDivisionError())
    assert found is ErrorClassification.UNKNOWN
    assert not traits(found).passes
    assert not traits(found).counts
