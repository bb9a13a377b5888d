"""How full the context window is, counted without sending anything."""
