"""The copy engine, plans and policies: ready targets and data in, results out; reads no file and no environment."""
