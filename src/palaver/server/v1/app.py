"""What `palaver.server.app` mounts below `/v1`."""

from palaver.server.v1 import chat, models
from palaver.server.v1.errors import OpenAIErrors

__all__ = ["ROUTERS", "OpenAIErrors"]
ROUTERS = (models.router, chat.router)
