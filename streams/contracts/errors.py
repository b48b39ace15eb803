"""The error of an internal message that this release cannot read."""


class UnreadableMessage(Exception):
    """A message of an internal topic is of a kind or version that this release does not know, or damaged.

    It may hold intents, so it is never skipped: reading stops, and an operator decides (newer release, or repair).
    ``detail`` never quotes the message, which holds personal data.
    """

    def __init__(self, contract: str, detail: str) -> None:
        super().__init__(f"unreadable {contract}: {detail}")
        self.contract = contract
        self.detail = detail
