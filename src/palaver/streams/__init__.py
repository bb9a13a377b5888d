"""Turns as logs: events are numbered and kept, and every reader is a cursor on them."""
