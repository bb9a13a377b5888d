"""Where facts are kept: one protocol, several adapters, one contract that all of them pass."""
