"""Palaver: the conversation runtime for products built on language models."""

__version__ = "0.1.0"
