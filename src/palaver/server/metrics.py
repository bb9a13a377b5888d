"""What Prometheus reads at `/metrics`: counted where turns store their facts, never by the delta.

Labels are bounded: a model or a code that is one too many is `other`, and no tenant, key or
conversation is a label. What can be asked for is looked up when somebody reads, and not kept.
"""

from collections.abc import Callable, Iterator

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from palaver import __version__
from palaver.domain.events import AttemptMade, SideRequestMade, TurnClosed
from palaver.domain.values import Usage
from palaver.recovery.breaker import BreakerReading, BreakerState

FIRST_TOKEN_S = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)
DURATION_S = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
MODELS, CODES, ROUTES, BREAKERS = 50, 100, 300, 100
"""Different values of a label; the others share one."""
OTHER = "other"
_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS")
_STATES = tuple(BreakerState)


class Standing(msgspec.Struct, frozen=True):
    """What is at the moment of a look."""

    turns: int
    streams: int
    sockets: int
    tenants: int
    outbox: int
    """Conversations with prompts that wait, of the tenants in memory."""
    charges: int
    """Uses that are still to be written down."""
    is_draining: bool
    breakers: tuple[BreakerReading, ...] = ()


class Metrics:
    """Counts for one server. Nothing here waits or raises."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._standing: Standing | None = None
        self._models, self._codes = _Bounded(MODELS), _Bounded(CODES)
        self._routes, self._breakers = _Bounded(ROUTES), _Bounded(BREAKERS)
        made = self._registry
        self._turns = Counter("palaver_turns", "Turns that ended.", ["outcome"], registry=made)
        self._turn_errors = Counter(
            "palaver_turn_errors", "Turns that failed, by what ended them.", ["code"], registry=made
        )
        self._attempts = Counter(
            "palaver_attempts", "Requests to models.", ["model", "outcome"], registry=made
        )
        self._attempt_errors = Counter(
            "palaver_attempt_errors", "Requests to models that failed.", ["code"], registry=made
        )
        self._tokens = Counter(
            "palaver_tokens", "Tokens, as providers report them.", ["model", "kind"], registry=made
        )
        self._first = Histogram(
            "palaver_first_token_seconds",
            "From a request to a model to its first content.",
            ["model"],
            buckets=FIRST_TOKEN_S,
            registry=made,
        )
        self._durations = Histogram(
            "palaver_attempt_seconds",
            "From a request to a model to the end of its answer.",
            ["model"],
            buckets=DURATION_S,
            registry=made,
        )
        self._requests = Counter(
            "palaver_http_requests",
            "Requests to this server that were answered.",
            ["method", "route", "status"],
            registry=made,
        )
        self._registry.register(_Now(self._families))

    # Counting.

    def turn(self, fact: TurnClosed) -> None:
        """A turn ended."""
        self._turns.labels(fact.outcome.value).inc()
        if fact.error is not None:
            self._turn_errors.labels(self._codes(fact.error.code)).inc()

    def attempt(self, fact: AttemptMade) -> None:
        """A request to a model ended, well or not."""
        model = self._model(fact.model, fact.usage)
        self._attempts.labels(model, "answered" if fact.error is None else "failed").inc()
        if fact.error is not None:
            self._attempt_errors.labels(self._codes(fact.error.code)).inc()
        if fact.first_token_s is not None:
            self._first.labels(model).observe(fact.first_token_s)
        self._durations.labels(model).observe(fact.duration_s)
        self._used(model, fact.usage)

    def side_request(self, fact: SideRequestMade) -> None:
        """A summary or a title was asked for."""
        model = self._model(fact.model, fact.usage)
        self._attempts.labels(model, "answered" if fact.error is None else "failed").inc()
        if fact.error is not None:
            self._attempt_errors.labels(self._codes(fact.error.code)).inc()
        self._used(model, fact.usage)

    def request(self, method: str, route: str, status: int) -> None:
        """A request is answered. `route`: its path with the names of parameters, or nothing."""
        known = method if method in _METHODS else OTHER
        self._requests.labels(known, self._routes(route) if route else OTHER, str(status)).inc()

    def _model(self, name: str, usage: Usage) -> str:
        """Only a model that answers takes one of the places: callers make names up."""
        return self._models(name) if usage.total else self._models.known(name)

    def _used(self, model: str, usage: Usage) -> None:
        kinds = {
            "input": usage.input,
            "output": usage.output,
            "cache_read": usage.cache_read,
            "cache_creation": usage.cache_creation,
            "reasoning": usage.reasoning,
        }
        for kind, tokens in kinds.items():
            if tokens > 0:
                self._tokens.labels(model, kind).inc(tokens)

    # Telling.

    def text(self, standing: Standing) -> bytes:
        """Everything, as Prometheus reads it."""
        self._standing = standing
        try:
            return generate_latest(self._registry)
        finally:
            self._standing = None

    def _families(self) -> Iterator[Metric]:
        now = self._standing
        if now is None:
            return
        yield InfoMetricFamily("palaver", "What runs here.", value={"version": __version__})
        for name, told, value in (
            ("palaver_turns_running", "Turns that run here.", now.turns),
            ("palaver_streams_open", "Readers of streams.", now.streams),
            ("palaver_sockets_open", "WebSockets.", now.sockets),
            ("palaver_tenants_open", "Tenants in memory.", now.tenants),
            ("palaver_outbox_conversations", "Conversations with waiting prompts.", now.outbox),
            ("palaver_charges_waiting", "Uses that are still to be written down.", now.charges),
            ("palaver_draining", "1 while the server ends.", now.is_draining),
        ):
            yield GaugeMetricFamily(name, told, value=value)
        yield self._breaker_states(now.breakers)

    def _breaker_states(self, readings: tuple[BreakerReading, ...]) -> Metric:
        family = GaugeMetricFamily(
            "palaver_breaker_state",
            "1 for the state of a model's circuit breaker.",
            labels=["breaker", "state"],
        )
        counts: dict[tuple[str, str], int] = {}
        for reading in readings:
            name = self._breakers(reading.name)
            for state in _STATES:
                at = (name, state.value)
                counts[at] = counts.get(at, 0) + (reading.state is state)
        for (name, state_name), count in counts.items():
            family.add_metric([name, state_name], count)
        return family


class _Bounded:
    """The values of a label: the first so many, and `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value not in self._known and len(self._known) < self._limit and len(value) <= 200:
            self._known.add(value)
        return self.known(value)

    def known(self, value: str) -> str:
        """The value, where it has a place already."""
        return value if value in self._known else OTHER


class _Now(Collector):
    """What is looked up."""

    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """See `Metrics.text`."""
        return self._families()

    def describe(self) -> Iterator[Metric]:
        """Nothing before somebody looks."""
        return iter(())
