"""Kinds of target: what is special about each. A new kind is one new file here and one line in `opening`."""
