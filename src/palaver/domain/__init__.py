"""Frozen values and one pure reducer: everything above speaks in these terms."""
