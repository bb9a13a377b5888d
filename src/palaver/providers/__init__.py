"""Models: one protocol, and the adapters that speak the providers' wires."""
