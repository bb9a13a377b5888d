"""What to do when an attempt fails: decided purely, carried out by the engine's one loop."""
