"""What the tests stand on: image builder, servers, a scriptable registry, a validator."""
