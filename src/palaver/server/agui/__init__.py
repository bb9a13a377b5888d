"""AG-UI: the protocol of user interfaces for agents. `route` is where a run comes in."""
