"""Who we are to a registry: a chain of places that may hold a credential, and the places where one is kept."""
