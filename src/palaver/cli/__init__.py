"""The command line. Only Click is imported before it is known what is asked for."""
