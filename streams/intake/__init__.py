"""From the bytes of a message to an intent, or to the reason why it is none. Pure: no I/O, no clock, no exceptions.

Reading order: ``reader`` (the entry, :func:`~streams.intake.reader.read_intent`), ``framing`` (what surrounds the
JSON), ``strictness`` (JSON that two parsers would read differently), ``rules`` and ``text`` (what a schema cannot say),
``reasons`` (every refusal, with its remedy).
"""
