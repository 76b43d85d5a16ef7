"""Private registries, written as a folder of readable files and, when asked, started as containers."""
