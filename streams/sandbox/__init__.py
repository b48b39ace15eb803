"""What stands in for the world outside: a fake Truecaller, synthetic dialers, and the demo that puts all together."""
