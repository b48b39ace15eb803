"""The shapes on the wire. Everything else may import this package; it imports nothing of ours."""
