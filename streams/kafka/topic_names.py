"""The topics of a deployment, by what they are for."""

from typing import NamedTuple


class TopicNames(NamedTuple):
    """The topics of a deployment."""

    intents: str
    outcomes: str
    dead_letters: str
    parcels: str
    journal: str
    requests: str
