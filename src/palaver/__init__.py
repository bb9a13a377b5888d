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
    from palaver.context.analysis import ConversationAnalysis as ConversationAnalysis
    from palaver.context.analyzer import ConversationAnalyzer as ConversationAnalyzer
    from palaver.context.compaction_result import CompactionResult as CompactionResult
    from palaver.context.compactor import ConversationCompactor as ConversationCompactor
    from palaver.context.strategy import CompactionStrategy as CompactionStrategy
    from palaver.context.window import (
        ContextWindow as ContextWindow,
        ContextWindowManager as ContextWindowManager,
    )
    from palaver.domain.access import KeyLimits as KeyLimits
    from palaver.domain.compaction import Compaction as Compaction
    from palaver.domain.degradation import (
        DegradationLevel as DegradationLevel,
        Feature as Feature,
    )
    from palaver.domain.errors import (
        ActionBlocked as ActionBlocked,
        CircuitBreakerOpenError as CircuitBreakerOpenError,
        ConfigurationError as ConfigurationError,
        ContextWindowExceeded as ContextWindowExceeded,
        ConversationBusy as ConversationBusy,
        InvalidInput as InvalidInput,
        NotAuthenticated as NotAuthenticated,
        NotExecuted as NotExecuted,
        NotFound as NotFound,
        PalaverError as PalaverError,
        PermissionRefused as PermissionRefused,
        PromptKept as PromptKept,
        ProviderError as ProviderError,
        QuotaExceeded as QuotaExceeded,
        StoreError as StoreError,
        StreamTruncated as StreamTruncated,
        ToolDisabledError as ToolDisabledError,
        ToolExecutionError as ToolExecutionError,
        ToolNotFoundError as ToolNotFoundError,
        TurnTakenOver as TurnTakenOver,
    )
    from palaver.domain.messages import (
        File as File,
        Image as Image,
        Message as Message,
        Reasoning as Reasoning,
        Refusal as Refusal,
        Role as Role,
        StopReason as StopReason,
        Text as Text,
        ToolCall as ToolCall,
        ToolResult as ToolResult,
        Unknown as Unknown,
    )
    from palaver.domain.outbox import QueuedPrompt as QueuedPrompt
    from palaver.domain.state import ConversationState as ConversationState
    from palaver.domain.stream import (
        AttemptStarted as AttemptStarted,
        BlockReset as BlockReset,
        CompactionSkipped as CompactionSkipped,
        CompactionStarted as CompactionStarted,
        ContextCompacted as ContextCompacted,
        HistoryAdapted as HistoryAdapted,
        MessageCompleted as MessageCompleted,
        ModelSwitched as ModelSwitched,
        ReasoningDelta as ReasoningDelta,
        RetryScheduled as RetryScheduled,
        ServiceDegraded as ServiceDegraded,
        ServiceRestored as ServiceRestored,
        StreamEvent as StreamEvent,
        TextDelta as TextDelta,
        ToolArgumentsDelta as ToolArgumentsDelta,
        ToolFinished as ToolFinished,
        ToolProgress as ToolProgress,
        ToolRequested as ToolRequested,
        ToolStarted as ToolStarted,
        TurnCancelled as TurnCancelled,
        TurnCompleted as TurnCompleted,
        TurnFailed as TurnFailed,
        TurnInterrupted as TurnInterrupted,
        TurnStarted as TurnStarted,
        TurnSuspended as TurnSuspended,
        UsageReported as UsageReported,
    )
    from palaver.domain.values import (
        ClientTool as ClientTool,
        Effect as Effect,
        GenerationSettings as GenerationSettings,
        OutputSchema as OutputSchema,
        Scope as Scope,
        SessionMetadata as SessionMetadata,
        TurnOutcome as TurnOutcome,
        Usage as Usage,
        UserPreferences as UserPreferences,
    )
    from palaver.providers.anthropic import AnthropicManager as AnthropicManager
    from palaver.providers.base import Model as Model, ModelRequest as ModelRequest
    from palaver.providers.openai import OpenAIManager as OpenAIManager
    from palaver.recovery.analytics import (
        ErrorAnalytics as ErrorAnalytics,
        ErrorReport as ErrorReport,
    )
    from palaver.recovery.board import MemoryBoard as MemoryBoard
    from palaver.recovery.breaker import (
        BreakerReading as BreakerReading,
        BreakerState as BreakerState,
        CircuitBreaker as CircuitBreaker,
    )
    from palaver.recovery.classification import ErrorClassification as ErrorClassification
    from palaver.recovery.decision import ErrorContext as ErrorContext
    from palaver.recovery.degradation import (
        DegradedConversationState as DegradedConversationState,
        DegradedFeatures as DegradedFeatures,
        GracefulDegradationManager as GracefulDegradationManager,
    )
    from palaver.recovery.manager import (
        Endpoint as Endpoint,
        ErrorRecoveryManager as ErrorRecoveryManager,
        RecoveryResult as RecoveryResult,
    )
    from palaver.recovery.policy import (
        RetryPolicy as RetryPolicy,
        create_adaptive_policy as create_adaptive_policy,
    )
    from palaver.service.actions import (
        AnswerAgain as AnswerAgain,
        ChangeMetadata as ChangeMetadata,
        ChangePreferences as ChangePreferences,
        CompactContext as CompactContext,
        DecideCall as DecideCall,
        EditMessage as EditMessage,
        MoveHead as MoveHead,
        NameConversation as NameConversation,
        PinMessage as PinMessage,
        SendMessage as SendMessage,
        SetMetadata as SetMetadata,
        SetPreferences as SetPreferences,
        StateAction as StateAction,
        UndoCompaction as UndoCompaction,
    )
    from palaver.service.branching import (
        Branch as Branch,
        StateDiff as StateDiff,
    )
    from palaver.service.brought import Aligned as Aligned
    from palaver.service.compacting import (
        CompactionReport as CompactionReport,
        ContextReport as ContextReport,
    )
    from palaver.service.conversation import Conversation as Conversation
    from palaver.service.manager import ConversationManager as ConversationManager
    from palaver.service.offline import (
        OfflineCapabilities as OfflineCapabilities,
        OfflineStatistics as OfflineStatistics,
    )
    from palaver.service.outbox import Outbox as Outbox, WaitingPrompts as WaitingPrompts
    from palaver.service.output import (
        OutputInvalid as OutputInvalid,
    )
    from palaver.service.prompts import EditPrompt as EditPrompt, WithdrawPrompt as WithdrawPrompt
    from palaver.service.redaction import (
        RedactionReceipt as RedactionReceipt,
    )
    from palaver.service.reply import Reply as Reply
    from palaver.service.state import (
        StateChange as StateChange,
        StateManager as StateManager,
        StateMiddleware as StateMiddleware,
        StateSubscriber as StateSubscriber,
    )
    from palaver.service.transfer import (
        ImportReport as ImportReport,
    )
    from palaver.service.turn_status import TurnStatus as TurnStatus
    from palaver.settings import (
        AccessSettings as AccessSettings,
        BreakerSettings as BreakerSettings,
        BudgetSettings as BudgetSettings,
        Clocks as Clocks,
        CompactionSettings as CompactionSettings,
        JwtSettings as JwtSettings,
        RetrySettings as RetrySettings,
        Settings as Settings,
        TurnLimits as TurnLimits,
    )
    from palaver.store.base import BlobStore as BlobStore, ConversationStore as ConversationStore
    from palaver.streams.bus import EventBus as EventBus
    from palaver.streams.cursor import Batch as Batch, Cursor as Cursor
    from palaver.streams.manager import StreamManager as StreamManager
    from palaver.streams.session import (
        Numbered as Numbered,
        ResumeGap as ResumeGap,
        StreamSession as StreamSession,
    )
    from palaver.tools.decorator import tool as tool
    from palaver.tools.definition import (
        ExecutionContext as ExecutionContext,
        Tool as Tool,
        ToolDefinition as ToolDefinition,
        ToolExecutionType as ToolExecutionType,
        ToolOutput as ToolOutput,
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
        "CompactContext",
        "DecideCall",
        "EditMessage",
        "MoveHead",
        "NameConversation",
        "PinMessage",
        "SendMessage",
        "SetMetadata",
        "SetPreferences",
        "StateAction",
        "UndoCompaction",
    ),
    "palaver.service.output": ("OutputInvalid",),
    "palaver.service.brought": ("Aligned",),
    "palaver.service.branching": ("Branch", "StateDiff"),
    "palaver.domain.access": ("KeyLimits",),
    "palaver.domain.outbox": ("QueuedPrompt",),
    "palaver.service.offline": ("OfflineCapabilities", "OfflineStatistics"),
    "palaver.service.outbox": ("Outbox", "WaitingPrompts"),
    "palaver.service.prompts": ("EditPrompt", "WithdrawPrompt"),
    "palaver.service.redaction": ("RedactionReceipt",),
    "palaver.service.transfer": ("ImportReport",),
    "palaver.service.turn_status": ("TurnStatus",),
    "palaver.settings": (
        "AccessSettings",
        "BreakerSettings",
        "BudgetSettings",
        "Clocks",
        "CompactionSettings",
        "JwtSettings",
        "RetrySettings",
        "Settings",
        "TurnLimits",
    ),
    "palaver.domain.degradation": ("DegradationLevel", "Feature"),
    "palaver.recovery.degradation": (
        "DegradedConversationState",
        "DegradedFeatures",
        "GracefulDegradationManager",
    ),
    "palaver.recovery.manager": ("Endpoint", "ErrorRecoveryManager", "RecoveryResult"),
    "palaver.recovery.classification": ("ErrorClassification",),
    "palaver.recovery.decision": ("ErrorContext",),
    "palaver.recovery.policy": ("RetryPolicy", "create_adaptive_policy"),
    "palaver.recovery.breaker": ("BreakerReading", "BreakerState", "CircuitBreaker"),
    "palaver.recovery.board": ("MemoryBoard",),
    "palaver.recovery.analytics": ("ErrorAnalytics", "ErrorReport"),
    "palaver.context.analysis": ("ConversationAnalysis",),
    "palaver.context.analyzer": ("ConversationAnalyzer",),
    "palaver.context.compaction_result": ("CompactionResult",),
    "palaver.context.compactor": ("ConversationCompactor",),
    "palaver.context.strategy": ("CompactionStrategy",),
    "palaver.context.window": ("ContextWindow", "ContextWindowManager"),
    "palaver.service.compacting": ("CompactionReport", "ContextReport"),
    "palaver.domain.compaction": ("Compaction",),
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
        "ClientTool",
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
        "BlockReset",
        "CompactionSkipped",
        "CompactionStarted",
        "ContextCompacted",
        "HistoryAdapted",
        "MessageCompleted",
        "ModelSwitched",
        "ReasoningDelta",
        "RetryScheduled",
        "ServiceDegraded",
        "ServiceRestored",
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
    "palaver.streams.cursor": ("Batch", "Cursor"),
    "palaver.streams.session": ("Numbered", "ResumeGap", "StreamSession"),
    "palaver.streams.bus": ("EventBus",),
    "palaver.store.base": ("BlobStore", "ConversationStore"),
    "palaver.providers.base": ("Model", "ModelRequest"),
    "palaver.providers.anthropic": ("AnthropicManager",),
    "palaver.providers.openai": ("OpenAIManager",),
    "palaver.domain.errors": (
        "ActionBlocked",
        "CircuitBreakerOpenError",
        "ConfigurationError",
        "ContextWindowExceeded",
        "ConversationBusy",
        "InvalidInput",
        "NotAuthenticated",
        "NotExecuted",
        "NotFound",
        "PalaverError",
        "PermissionRefused",
        "PromptKept",
        "ProviderError",
        "QuotaExceeded",
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
