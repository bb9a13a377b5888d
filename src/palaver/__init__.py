"""Palaver: long, tool-using conversations with language models that never lose a message.

    import palaver

    async with palaver.open("chat.db") as manager:
        conversation = await manager.create()
        reply = await conversation.say("What is 17*23?")
        print(reply.text)

Names are imported when they are first used, so that `import palaver` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from palaver import sync as sync
    from palaver.domain.errors import (
        ActionBlocked as ActionBlocked,
    )
    from palaver.domain.errors import (
        ConfigurationError as ConfigurationError,
    )
    from palaver.domain.errors import (
        ContextWindowExceeded as ContextWindowExceeded,
    )
    from palaver.domain.errors import (
        ConversationBusy as ConversationBusy,
    )
    from palaver.domain.errors import (
        InvalidInput as InvalidInput,
    )
    from palaver.domain.errors import (
        NotExecuted as NotExecuted,
    )
    from palaver.domain.errors import (
        NotFound as NotFound,
    )
    from palaver.domain.errors import (
        PalaverError as PalaverError,
    )
    from palaver.domain.errors import (
        ProviderError as ProviderError,
    )
    from palaver.domain.errors import (
        StoreError as StoreError,
    )
    from palaver.domain.errors import (
        StreamTruncated as StreamTruncated,
    )
    from palaver.domain.errors import (
        ToolDisabledError as ToolDisabledError,
    )
    from palaver.domain.errors import (
        ToolExecutionError as ToolExecutionError,
    )
    from palaver.domain.errors import (
        ToolNotFoundError as ToolNotFoundError,
    )
    from palaver.domain.errors import (
        TurnTakenOver as TurnTakenOver,
    )
    from palaver.domain.messages import (
        File as File,
    )
    from palaver.domain.messages import (
        Image as Image,
    )
    from palaver.domain.messages import (
        Message as Message,
    )
    from palaver.domain.messages import (
        Reasoning as Reasoning,
    )
    from palaver.domain.messages import (
        Refusal as Refusal,
    )
    from palaver.domain.messages import (
        Role as Role,
    )
    from palaver.domain.messages import (
        StopReason as StopReason,
    )
    from palaver.domain.messages import (
        Text as Text,
    )
    from palaver.domain.messages import (
        ToolCall as ToolCall,
    )
    from palaver.domain.messages import (
        ToolResult as ToolResult,
    )
    from palaver.domain.messages import (
        Unknown as Unknown,
    )
    from palaver.domain.state import ConversationState as ConversationState
    from palaver.domain.stream import (
        AttemptStarted as AttemptStarted,
    )
    from palaver.domain.stream import (
        HistoryAdapted as HistoryAdapted,
    )
    from palaver.domain.stream import (
        MessageCompleted as MessageCompleted,
    )
    from palaver.domain.stream import (
        ReasoningDelta as ReasoningDelta,
    )
    from palaver.domain.stream import (
        RetryScheduled as RetryScheduled,
    )
    from palaver.domain.stream import (
        StreamEvent as StreamEvent,
    )
    from palaver.domain.stream import (
        TextDelta as TextDelta,
    )
    from palaver.domain.stream import (
        ToolArgumentsDelta as ToolArgumentsDelta,
    )
    from palaver.domain.stream import (
        ToolFinished as ToolFinished,
    )
    from palaver.domain.stream import (
        ToolProgress as ToolProgress,
    )
    from palaver.domain.stream import (
        ToolRequested as ToolRequested,
    )
    from palaver.domain.stream import (
        ToolStarted as ToolStarted,
    )
    from palaver.domain.stream import (
        TurnCancelled as TurnCancelled,
    )
    from palaver.domain.stream import (
        TurnCompleted as TurnCompleted,
    )
    from palaver.domain.stream import (
        TurnFailed as TurnFailed,
    )
    from palaver.domain.stream import (
        TurnInterrupted as TurnInterrupted,
    )
    from palaver.domain.stream import (
        TurnStarted as TurnStarted,
    )
    from palaver.domain.stream import (
        TurnSuspended as TurnSuspended,
    )
    from palaver.domain.stream import (
        UsageReported as UsageReported,
    )
    from palaver.domain.values import (
        Effect as Effect,
    )
    from palaver.domain.values import (
        GenerationSettings as GenerationSettings,
    )
    from palaver.domain.values import (
        OutputSchema as OutputSchema,
    )
    from palaver.domain.values import (
        Scope as Scope,
    )
    from palaver.domain.values import (
        SessionMetadata as SessionMetadata,
    )
    from palaver.domain.values import (
        TurnOutcome as TurnOutcome,
    )
    from palaver.domain.values import (
        Usage as Usage,
    )
    from palaver.domain.values import (
        UserPreferences as UserPreferences,
    )
    from palaver.providers.anthropic import AnthropicManager as AnthropicManager
    from palaver.providers.base import Model as Model
    from palaver.providers.base import ModelRequest as ModelRequest
    from palaver.providers.openai import OpenAIManager as OpenAIManager
    from palaver.service.actions import (
        AnswerAgain as AnswerAgain,
    )
    from palaver.service.actions import (
        ChangeMetadata as ChangeMetadata,
    )
    from palaver.service.actions import (
        ChangePreferences as ChangePreferences,
    )
    from palaver.service.actions import (
        DecideCall as DecideCall,
    )
    from palaver.service.actions import (
        EditMessage as EditMessage,
    )
    from palaver.service.actions import (
        MoveHead as MoveHead,
    )
    from palaver.service.actions import (
        NameConversation as NameConversation,
    )
    from palaver.service.actions import (
        PinMessage as PinMessage,
    )
    from palaver.service.actions import (
        SendMessage as SendMessage,
    )
    from palaver.service.actions import (
        SetMetadata as SetMetadata,
    )
    from palaver.service.actions import (
        SetPreferences as SetPreferences,
    )
    from palaver.service.actions import (
        StateAction as StateAction,
    )
    from palaver.service.branching import (
        Branch as Branch,
    )
    from palaver.service.branching import (
        StateDiff as StateDiff,
    )
    from palaver.service.conversation import Conversation as Conversation
    from palaver.service.manager import ConversationManager as ConversationManager
    from palaver.service.output import (
        OutputInvalid as OutputInvalid,
    )
    from palaver.service.redaction import (
        RedactionReceipt as RedactionReceipt,
    )
    from palaver.service.reply import Reply as Reply
    from palaver.service.state import (
        StateChange as StateChange,
    )
    from palaver.service.state import (
        StateManager as StateManager,
    )
    from palaver.service.state import (
        StateMiddleware as StateMiddleware,
    )
    from palaver.service.state import (
        StateSubscriber as StateSubscriber,
    )
    from palaver.service.transfer import (
        ImportReport as ImportReport,
    )
    from palaver.settings import (
        Clocks as Clocks,
    )
    from palaver.settings import (
        RetrySettings as RetrySettings,
    )
    from palaver.settings import (
        Settings as Settings,
    )
    from palaver.settings import (
        TurnLimits as TurnLimits,
    )
    from palaver.store.base import BlobStore as BlobStore
    from palaver.store.base import ConversationStore as ConversationStore
    from palaver.streams.bus import EventBus as EventBus
    from palaver.streams.manager import StreamManager as StreamManager
    from palaver.streams.session import (
        Numbered as Numbered,
    )
    from palaver.streams.session import (
        ResumeGap as ResumeGap,
    )
    from palaver.streams.session import (
        StreamSession as StreamSession,
    )
    from palaver.tools.decorator import tool as tool
    from palaver.tools.definition import (
        ExecutionContext as ExecutionContext,
    )
    from palaver.tools.definition import (
        Tool as Tool,
    )
    from palaver.tools.definition import (
        ToolDefinition as ToolDefinition,
    )
    from palaver.tools.definition import (
        ToolExecutionType as ToolExecutionType,
    )
    from palaver.tools.definition import (
        ToolOutput as ToolOutput,
    )
    from palaver.tools.definition import (
        ToolRetryPolicy as ToolRetryPolicy,
    )
    from palaver.tools.manager import ToolManager as ToolManager
    from palaver.wiring import open as open

_PLACES = {
    "palaver.wiring": ("open",),
    "palaver.tools.decorator": ("tool",),
    "palaver.tools.definition": (
        "ExecutionContext",
        "Tool",
        "ToolDefinition",
        "ToolExecutionType",
        "ToolOutput",
        "ToolRetryPolicy",
    ),
    "palaver.tools.manager": ("ToolManager",),
    "palaver.service.manager": ("ConversationManager",),
    "palaver.service.conversation": ("Conversation",),
    "palaver.service.reply": ("Reply",),
    "palaver.service.state": ("StateChange", "StateManager", "StateMiddleware", "StateSubscriber"),
    "palaver.service.actions": (
        "AnswerAgain",
        "ChangeMetadata",
        "ChangePreferences",
        "DecideCall",
        "EditMessage",
        "MoveHead",
        "NameConversation",
        "PinMessage",
        "SendMessage",
        "SetMetadata",
        "SetPreferences",
        "StateAction",
    ),
    "palaver.service.output": ("OutputInvalid",),
    "palaver.service.branching": ("Branch", "StateDiff"),
    "palaver.service.redaction": ("RedactionReceipt",),
    "palaver.service.transfer": ("ImportReport",),
    "palaver.settings": ("Clocks", "RetrySettings", "Settings", "TurnLimits"),
    "palaver.domain.state": ("ConversationState",),
    "palaver.domain.messages": (
        "File",
        "Image",
        "Message",
        "Reasoning",
        "Refusal",
        "Role",
        "StopReason",
        "Text",
        "ToolCall",
        "ToolResult",
        "Unknown",
    ),
    "palaver.domain.values": (
        "Effect",
        "GenerationSettings",
        "OutputSchema",
        "Scope",
        "SessionMetadata",
        "TurnOutcome",
        "Usage",
        "UserPreferences",
    ),
    "palaver.domain.stream": (
        "AttemptStarted",
        "HistoryAdapted",
        "MessageCompleted",
        "ReasoningDelta",
        "RetryScheduled",
        "StreamEvent",
        "TextDelta",
        "ToolArgumentsDelta",
        "ToolFinished",
        "ToolProgress",
        "ToolRequested",
        "ToolStarted",
        "TurnCancelled",
        "TurnCompleted",
        "TurnFailed",
        "TurnInterrupted",
        "TurnStarted",
        "TurnSuspended",
        "UsageReported",
    ),
    "palaver.streams.manager": ("StreamManager",),
    "palaver.streams.session": ("Numbered", "ResumeGap", "StreamSession"),
    "palaver.streams.bus": ("EventBus",),
    "palaver.store.base": ("BlobStore", "ConversationStore"),
    "palaver.providers.base": ("Model", "ModelRequest"),
    "palaver.providers.anthropic": ("AnthropicManager",),
    "palaver.providers.openai": ("OpenAIManager",),
    "palaver.domain.errors": (
        "ActionBlocked",
        "ConfigurationError",
        "ContextWindowExceeded",
        "ConversationBusy",
        "InvalidInput",
        "NotExecuted",
        "NotFound",
        "PalaverError",
        "ProviderError",
        "StoreError",
        "StreamTruncated",
        "ToolDisabledError",
        "ToolExecutionError",
        "ToolNotFoundError",
        "TurnTakenOver",
    ),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}
__all__ = ["__version__", "sync", *sorted(_PLACE_OF)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name == "sync":
        return import_module("palaver.sync")
    place = _PLACE_OF.get(name)
    if place is None:
        raise AttributeError(f"module 'palaver' has no attribute {name!r}")
    value = getattr(import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
