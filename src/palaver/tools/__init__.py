"""Tools: what a model may ask for, and how it is run within bounds."""
