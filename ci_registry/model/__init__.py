"""Pure data: references, descriptors, manifests. Nothing here opens a socket or a file."""
