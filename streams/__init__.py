"""callstream: call intents from Kafka, in batches to Truecaller, outcomes back to Kafka.

::

    dialers ─▶ intents ─▶ route ─▶ parcels ─▶ submit ─▶ lane ──POST──▶ Truecaller
               (theirs)     │      (keyed by     │       │ ▲               │
                            │       account)     │       │ └── GET status ─┘
                            ▼                    ▼       ▼
                      dead letters            journal   outcomes ─▶ CRM, billing, analytics

Reading order: ``contracts`` (the shapes on the wire), ``intake`` (bytes to intent or reason), ``lane`` (everything
that is decided about one account, without I/O), ``audit`` (does it all add up?), ``plan`` (what would happen?),
``truecaller`` (the API), ``kafka`` (transport, commit, replay), ``worker`` (the two agents and the shell that runs
lanes), ``app`` (the one file that knows everyone), ``cli``.
"""

__version__ = "0.1.0"
