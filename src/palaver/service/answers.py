"""Earlier answers, to be given again when no model can be reached, and who answers then.

What is kept is where an answer stands in the log, under the key of its request: a redacted or
deleted answer is gone with its fact. A store that cannot keep that keeps no answers.
"""

from collections.abc import Callable

from palaver import log
from palaver.domain.degradation import DegradationLevel
from palaver.domain.errors import PalaverError
from palaver.domain.ids import ConversationId
from palaver.domain.messages import Message
from palaver.domain.values import Scope
from palaver.engine.ports import StandIn
from palaver.engine.request_key import RequestKeys
from palaver.providers.base import Model, ModelRequest
from palaver.providers.cached import CACHE, CachedStream
from palaver.settings import AnswerSettings
from palaver.store.base import AnswerStore, ConversationStore


class CachedAnswers:
    """Of one scope."""

    def __init__(self, store: ConversationStore, scope: Scope, *, settings: AnswerSettings) -> None:
        self._store = store if isinstance(store, AnswerStore) else None
        self._scope, self._settings = scope, settings
        self._keys = RequestKeys()

    def key(self, request: ModelRequest) -> bytes:
        """What makes a request the same as another one; empty where no answers are kept."""
        if self._store is None or not self._settings.keep:
            return b""
        return self._keys.key(request)

    async def find(self, request: ModelRequest) -> Message | None:
        """The newest answer that the same request had, in any conversation of the tenant."""
        key = self.key(request)
        if self._store is None or not key:
            return None
        try:
            return await self._store.find_answer(self._scope, key, max_age_s=self._settings.age_s)
        except PalaverError as error:  # the store fails, too: whoever stands in behind it answers
            log.get("answers").warning("not_looked_up", code=error.code)
            return None

    async def note(
        self, conversation: ConversationId, number: int, message: Message, key: bytes
    ) -> None:
        """Fact `number` adds `message`, which answers the request with this key."""
        size = len(message.text.encode())
        if self._store is None or not key or size > self._settings.answer_bytes:
            return
        try:
            await self._store.note_answer(
                self._scope, conversation, number, key, keep=self._settings.keep
            )
        except PalaverError as error:  # the answer is stored; that it can be found can wait
            log.get("answers").warning("not_noted", code=error.code)

    def forget(self, conversation: ConversationId) -> None:
        """Nobody uses it for now."""
        self._keys.forget(conversation)


class StandingIn:
    """`StandsIn`: an earlier answer to the same request, else the offline responder, where there is
    one."""

    def __init__(self, answers: CachedAnswers, offline: Callable[[], Model] | None) -> None:
        self._answers, self._offline = answers, offline

    async def answer(self, request: ModelRequest) -> StandIn | None:
        """None for a shape, which the offline responder cannot fill in."""
        found = await self._answers.find(request)
        if found is not None:
            return StandIn(CACHE, CachedStream(found), DegradationLevel.CACHED_ANSWERS)
        if self._offline is None or request.output is not None:
            return None
        model = self._offline()
        return StandIn(model.name, model.stream(request), DegradationLevel.BASIC_CHAT)
