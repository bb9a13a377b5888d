"""The models that may answer a turn, in the order in which they are asked."""

from collections.abc import Sequence

from palaver.domain.errors import CircuitBreakerOpenError, PalaverError
from palaver.providers.base import Model
from palaver.recovery.classification import is_unreachable
from palaver.recovery.manager import Call, Endpoint, ErrorRecoveryManager


class ModelChain:
    """`current` answers now: the first that is not left alone. A turn stays with it.

    One that is given up is not asked again for the same message.
    """

    def __init__(self, models: Sequence[Model], recovery: ErrorRecoveryManager) -> None:
        self._models, self._recovery = tuple(models), recovery
        self._endpoints = {model.name: endpoint(model) for model in models}
        self._given_up: set[str] = set()
        self.current = models[0]
        self.refusal: CircuitBreakerOpenError | None = None
        """Why the newest one that was passed over is left alone."""
        self.is_away = False
        """Whether one that was asked, or passed over, for this message could not be reached."""

    def new_message(self) -> None:
        """Whoever was given up for the message before may be asked for the next one."""
        self._given_up.clear()
        self.is_away = False

    @property
    def is_own(self) -> bool:
        """Whether the current model is the one that was chosen."""
        return self.current is self._models[0]

    def give_up(self, failure: PalaverError | None = None) -> None:
        """Ask the current model no more for this message."""
        self._given_up.add(self.current.name)
        self.is_away = self.is_away or is_unreachable(failure)

    async def admit(self) -> Call:
        """A call to the current model, or to the first one that may be asked, which then is it.

        Raises CircuitBreakerOpenError, of the one that will be asked again first, or of the newest
        one that was given up.
        """
        refusals: list[CircuitBreakerOpenError] = []
        for model in self._candidates():
            try:
                call = await self._recovery.admit(self._endpoints[model.name])
            except CircuitBreakerOpenError as refusal:
                refusals.append(refusal)
                self.refusal = refusal
                self.is_away = self.is_away or is_unreachable(refusal)
            else:
                self.current = model
                return call
        if not refusals:
            raise CircuitBreakerOpenError(self.current.name, retry_after_s=0.0)
        raise min(refusals, key=lambda refusal: refusal.retry_after_s or 0.0)

    def next(self) -> str:
        """The name of the model that would be asked next; empty where there is none."""
        for model in self._candidates():
            if model is not self.current and self._recovery.is_admitting(
                self._endpoints[model.name]
            ):
                return model.name
        return ""

    def _candidates(self) -> list[Model]:
        """From the current one on; then the ones before it, which were passed over."""
        at = self._models.index(self.current)
        ordered = (*self._models[at:], *self._models[:at])
        return [model for model in ordered if model.name not in self._given_up]


def endpoint(model: Model) -> Endpoint:
    """Whom a call to `model` goes to."""
    info = model.info
    return Endpoint(info.name, info.address, info.credential)
