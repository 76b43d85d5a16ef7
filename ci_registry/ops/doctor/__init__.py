"""Examines targets and this machine: what was seen, what it means, and the exact cure."""
