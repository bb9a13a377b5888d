"""What keeps conversations over the years: export and import, attachments, retention, copies."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from palaver.domain.clock import Clock
from palaver.domain.errors import InvalidInput, NotFound
from palaver.domain.events import PromptWithdrawn
from palaver.domain.ids import BlobId, ConversationId, is_id
from palaver.domain.messages import File, Image
from palaver.domain.values import Scope
from palaver.service import branching, exports
from palaver.service.exports import Incoming
from palaver.service.state import StateManager
from palaver.service.transfer import ExportFormat, ImportReport, blobs_in, folded
from palaver.store.base import BackedUpStore, BackupReport, BlobStore, ConversationStore, Page
from palaver.system import new_id

if TYPE_CHECKING:
    from palaver.service.turns import TurnRunner

Changed: TypeAlias = list[tuple[ConversationId, float]]
"""Conversations with the time of their newest change."""


class Keeping:
    """A part of `ConversationManager`."""

    _store: ConversationStore
    _blobs: BlobStore
    _scope: Scope
    _clock: Clock
    _runner: "TurnRunner"

    async def export(self, conversation: str, format: ExportFormat = "markdown") -> bytes:
        """A conversation as a document: Markdown, lossless JSON Lines, OpenAI's chat format, or an
        HTML page that stands alone. Raises NotFound."""
        states = await self._states(checked(conversation))
        state = await states.refresh()
        blobs = {b: await self._blob_or_none(b) for b in blobs_in(state)}
        if format == "jsonl":
            records = await self._store.read(self._scope, state.id)
            return await asyncio.to_thread(exports.lossless, state, records, blobs)
        return await asyncio.to_thread(exports.document, format, state, blobs)

    async def import_conversations(
        self, data: bytes, *, name: str = "", format: str | None = None
    ) -> tuple[ImportReport, ...]:
        """Store every conversation that a file holds; `name` helps to tell its format.

        Raises InvalidInput for a file that nothing can read; then nothing is stored.
        """
        incoming = await asyncio.to_thread(exports.incoming, data, name=name, format=format)
        return tuple([await self._take_in(each) for each in incoming])

    async def _take_in(self, incoming: Incoming) -> ImportReport:
        for data in incoming.blobs.values():
            await self._blobs.put(self._scope, data)
        state = await asyncio.to_thread(folded, incoming.facts)
        made = ConversationId(new_id("conv"))
        # What waits in the original is sent there, and once.
        withdrawn = (PromptWithdrawn(prompt.id) for prompt in state.outbox)
        await self._store.create(self._scope, made, (*incoming.facts, *withdrawn))
        return ImportReport(
            made,
            incoming.format,
            state.metadata.title,
            sum(1 for _ in branching.everywhere(state)),
            state.content_hash,
            incoming.repairs,
        )

    async def purge(
        self, *, older_than_s: float, dry_run: bool = False
    ) -> tuple[ConversationId, ...]:
        """Delete conversations that were not changed for so long; ones with pins stay.

        Returns which. `dry_run` only says which it would be.
        """
        before = self._clock.now() - older_than_s
        old = [c for c in await self._every_id() if c[1] < before]
        gone: list[ConversationId] = []
        for conversation, _ in old:
            if (await self._states(conversation)).state.pins:
                continue
            gone.append(conversation)
            if not dry_run:
                await self.delete(conversation)
        return tuple(gone)

    async def collect_blobs(self, *, older_than_s: float = 86_400.0) -> int:
        """Delete attachments and tool outputs that no conversation refers to; returns how many.

        Younger ones stay: they may belong to a message that is being written.
        """
        named = await self._store.blob_references(self._scope)
        return await self._blobs.collect(self._scope, keep=named, older_than_s=older_than_s)

    async def _every_id(self) -> Sequence[tuple[ConversationId, float]]:
        found: Changed = []
        for archived in (False, True):
            cursor: str | None = None
            while True:
                page = await self.list(limit=200, cursor=cursor, archived=archived)
                found += [(item.id, item.updated_at) for item in page.items]
                cursor = page.cursor
                if cursor is None:
                    break
        return found

    async def _blob_or_none(self, blob: BlobId) -> bytes | None:
        try:
            return await self._runner.read_blob(blob)
        except NotFound:
            return None

    async def attach(
        self, source: "bytes | Path", *, name: str = "", media_type: str = ""
    ) -> Image | File:
        """Store a picture or file; the result is a block for a message.

        The type is told by the content of known pictures and by the name otherwise. Raises
        InvalidInput when the file cannot be read.
        """
        from palaver.service.attachments import attachment

        return await attachment(self._blobs, self._scope, source, name=name, media_type=media_type)

    async def read_blob(self, blob: str) -> bytes:
        """The bytes of a blob: an attachment, or a tool's full output. Raises NotFound."""
        return await self._runner.read_blob(BlobId(blob))

    async def backup(self, target: "str | Path", *, overwrite: bool = False) -> BackupReport:
        """Copy everything to the file `target`, while it is in use, and check the copy; attachments
        go to the folder `target` + `-blobs`. The copy opens as the original does.

        Raises InvalidInput where something is there and is not to be replaced, or where nothing is
        in a file; StoreError.
        """
        if not isinstance(self._store, BackedUpStore):
            raise InvalidInput("these conversations are not in a file", hint="Export them.")
        blobs: Path | None = getattr(self._blobs, "folder", None)
        return await self._store.backup(Path(target), overwrite=overwrite, blobs=blobs)

    # Of `ConversationManager`.

    async def list(
        self, *, limit: int = 50, cursor: str | None = None, archived: bool = False
    ) -> Page:
        """Conversations by newest change."""
        raise NotImplementedError

    async def delete(self, conversation: str) -> None:
        """Erase a conversation. Raises NotFound."""
        raise NotImplementedError

    async def _states(self, conversation: ConversationId) -> StateManager:
        raise NotImplementedError


def checked(conversation: str) -> ConversationId:
    """What may be an id. Raises NotFound for what cannot be one."""
    if not is_id(conversation):
        raise NotFound(f"no conversation {conversation!r}", hint="`palaver list` shows them.")
    return ConversationId(conversation)
