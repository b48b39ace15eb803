"""Kafka under Faust: reading with leases, committing in fenced transactions, and what surrounds both.

Reading order: ``lease`` and ``message`` (what comes in and goes out), ``transport`` (how agents get chunks), with
``poll_thread``, ``ownership`` and ``faust_seam`` behind it; ``committer`` (how units become durable), with ``unit`` and
``transaction``; ``replay`` (the journal, read back); ``topics``, ``client_config``, ``embedded``.
"""
