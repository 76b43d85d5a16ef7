"""Files, environment and places: what turns a configuration and a command into calls of the engine."""
