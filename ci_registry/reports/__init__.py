"""Results made readable: text, JUnit XML and HTML."""
