"""The whole of callstream on one machine with no other software: what a newcomer sees first.

One process holds the embedded Kafka, the fake API, the synthetic dialer and a reader of the topics; the worker is a
process of its own, started exactly as an operator would start it. Nothing that is shown or counted comes from the
worker's own counters: intents, outcomes and dead letters are read from the topics, requests and batches from the fake
API's ledger.

Reading order: ``custody`` (where each intent is), ``requests`` (what the API saw), ``watch`` (reads both), ``holdback``
and ``dialing`` (how fast intents may come), ``picture`` and ``painter`` (all of it at one moment), ``view`` and
``screen`` (how it is shown), ``worker`` (the process), ``show`` (who does what when), ``summary`` (how it ended).
"""
