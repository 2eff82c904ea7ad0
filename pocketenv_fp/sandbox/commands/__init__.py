"""Running commands in a sandbox, each in the wire form of its provider."""
