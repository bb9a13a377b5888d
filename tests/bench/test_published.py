import msgspec

from bench.aims import aims
from bench.check import ALLOWED, BASELINE, best, grown
from bench.published import FIGURES, PAGE, Published, page, published

SAMPLES = {
    "burst-2000": {"raw": [{"us": 5.0}, {"us": 7.0}], "palaver": [{"us": 10.0}, {"us": 14.0}]},
    "paced-600-2": {"raw": [{"us": 100.0}], "palaver": [{"us": 200.0}]},
    "paced-20-2": {"raw": [{"first_cpu_s": 0.001}], "palaver": [{"first_cpu_s": 0.002}]},
}
RUN = {
    "at": "2026-01-02T03:04:05+00:00",
    "quick": True,
    "machine": {"cores": 2, "loop": "asyncio"},
    "versions": {"palaver": "1"},
    "skipped": ["somebody left out"],
    "results": [{"name": "deltas", "tables": [], "figures": {"samples": {"openai": SAMPLES}}}],
}


def test_page_says_what_the_figures_say() -> None:
    """The committed page is what its generator makes of the committed figures."""
    figures = msgspec.json.decode(FIGURES.read_bytes(), type=Published)
    assert page(figures) == PAGE.read_text(encoding="utf-8")


def test_committed_figures_are_medians() -> None:
    """Of every sample's field the median is committed, and no sample."""
    found = published(RUN).results[0].figures["samples"]["openai"]["burst-2000"]
    assert found == {"raw": {"us": 6.0}, "palaver": {"us": 12.0}}


def test_missed_aims_are_told() -> None:
    """An aim that is missed is named where Palaver falls short; one that is met is not."""
    made = page(published(RUN))
    short = made.partition("falls short")[2].partition("\nWhat")[0]
    assert "paced, openai: 2.00 ×; the aim is 1.5 × raw" in short
    assert "burst" not in short
    assert "- somebody left out" in made


def test_aims_of_a_run_that_measured_little() -> None:
    """What was not measured is no aim, met or missed."""
    assert aims({}) == []
    assert aims({"deltas": {"samples": {"openai": {**SAMPLES, "paced-20-2": {}}}}})[1].met is False


def test_check_fails_only_on_growth_by_more_than_half() -> None:
    """A ratio may grow by half; of two measurements the better counts; a missing one fails."""
    baseline = {"burst": 2.0, "paced": 1.0}
    assert grown(baseline, {"burst": 2.0 * ALLOWED, "paced": 0.5}) == []
    assert grown(baseline, {"burst": 3.1, "paced": 1.0}) == ["burst"]
    assert grown(baseline, {"burst": 2.0}) == ["paced"]
    for seen in ([{"burst": 3.1, "paced": 1.0}, {"burst": 2.1}], [{"burst": 2.1}, {"paced": 1.0}]):
        assert grown(baseline, best(seen)) == []


def test_baseline_names_what_the_check_measures() -> None:
    """Every kind of work has a ratio to be compared with."""
    names = msgspec.json.decode(BASELINE.read_bytes(), type=dict[str, float])
    assert {name.partition(",")[0] for name in names} == {"burst", "paced", "turns", "crowd"}
    assert all(ratio > 0.5 for ratio in names.values())
