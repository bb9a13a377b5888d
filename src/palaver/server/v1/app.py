"""What `palaver.server.app` mounts below `/v1`."""

from palaver.server.v1 import chat, conversations, models, responses
from palaver.server.v1.errors import OpenAIErrors

__all__ = ["ROUTERS", "OpenAIErrors"]
ROUTERS = (models.router, chat.router, responses.router, conversations.router)
