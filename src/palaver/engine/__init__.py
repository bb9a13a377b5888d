"""The turn: one loop that talks to a model, runs tools, and yields facts and events."""
