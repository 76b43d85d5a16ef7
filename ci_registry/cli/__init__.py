"""The command line: a thin skin over the library. The only layer that imports click and rich."""
