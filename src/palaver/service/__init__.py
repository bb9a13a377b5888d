"""Conversations as a service: the one place where commands become facts and turns are owned."""
