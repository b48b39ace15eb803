"""Everything that is decided about one account, as pure code: no I/O, no clock, no asyncio.

Reading order: ``lane`` (what it wants next), ``answers`` (what it does with an answer), ``recovery`` (what a new owner
starts from); then the parts: ``window``, ``cursor``, ``pace``, ``tokens``, ``batch``, ``checking``, ``settle``,
``correlate``.
"""
