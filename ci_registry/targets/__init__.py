"""Places that hold images: registries, layouts, archives, the docker daemon; and the contracts they fulfil."""
