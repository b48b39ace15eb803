"""What would happen to intents under a configuration, computed without sending any of them. Pure.

Not a model of the lanes but the lanes themselves, on virtual time against an API that never fails: what the plan says
of batches, tokens and deadlines follows every change of the real thing. ``rehearsal`` runs one lane, ``tally`` counts
what came of it, ``planner`` reads the intents and feeds the lanes, ``report`` is what is told in the end.
"""
