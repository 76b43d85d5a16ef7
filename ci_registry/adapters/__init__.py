"""One module for each foreign package: the only one that imports it, and where its exceptions are translated."""
