"""What still works when something does not: levels of service, and what each has and lacks."""

from enum import StrEnum


class DegradationLevel(StrEnum):
    """How much of the service there is, from all of it to the least."""

    FULL = "full"
    OTHER_MODEL = "other_model"
    """Another model of the chain answers."""
    SMALLER_WINDOW = "smaller_window"
    """The provider found the request too long: the window was made smaller in an emergency."""
    CACHED_ANSWERS = "cached_answers"
    """No model can be reached: what was asked before is answered as it was then."""
    BASIC_CHAT = "basic_chat"
    """No model can be reached: the offline responder answers, which is no language model."""
    READ_ONLY = "read_only"
    """Nothing new is answered; what is there can be read, searched and analysed."""

    @property
    def rank(self) -> int:
        """0 for all of the service; more is worse."""
        return tuple(DegradationLevel).index(self)


class Feature(StrEnum):
    """What there is, or is not."""

    CHOSEN_MODEL = "chosen_model"
    """Answers by the model that was chosen."""
    LANGUAGE_MODEL = "language_model"
    """Answers by any language model."""
    WHOLE_WINDOW = "whole_window"
    """As much of the conversation as the settings let a model see."""
    CACHED_ANSWERS = "cached_answers"
    BASIC_CHAT = "basic_chat"
    OUTBOX = "outbox"
    """What is said is kept, and sent when a model answers again."""
    TOOLS = "tools"
    """Tools of this machine."""
    MESSAGES = "messages"
    """What is said is stored."""
    READING = "reading"
    """Reading, searching, exporting."""
    ANALYSIS = "analysis"
    """Extractive summary, topic map, statistics."""
