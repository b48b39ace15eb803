"""Commands: what an operator tells the owner of an account, as messages of the account's parcels partition.

There is no other way to a lane, and none is needed: whoever owns the partition reads the command, in order with the
parcels, and journals what it does in one unit with the offset that follows. A command may be read again after a crash,
so applying it twice must do no more than applying it once. Unlike a parcel it holds no intents: a verb that a release
does not know is answered, not refused.

The answer is a tombstone in the journal, ``command/<id>/<result>``: it says how it went to whoever waits, holds
nothing, is forgotten by compaction, and releases that know no commands pass over it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from streams.contracts.errors import UnreadableMessage
from streams.contracts.journal import JournalKey
from streams.contracts.parcel import PARCEL_KIND, Parcel, parcel_of

COMMAND_KIND = "command"
COMMAND_VERSION = 1


class Verb(StrEnum):
    """What can be told. The last three are about a batch in doubt (argument ``batch_ref``).

    ``accept``: the API took it, as ``batch_id``. ``resend``: send it again. ``give_up``: nobody will ever know.
    """

    PAUSE = "pause"
    RESUME = "resume"
    ACCEPT = "accept"
    RESEND = "resend"
    GIVE_UP = "give_up"


class Result(StrEnum):
    """How a command went. All but ``applied`` mean that it changed nothing.

    ``already_applied``: it was read before. ``no_such_batch``: the account has no such open batch.
    ``not_in_doubt``: the batch is on its way, was accepted, or was never sent. ``sent_again_anyway``: its policy does
    that by itself. ``not_understood``: an unknown verb, or an argument that is missing or not usable.
    """

    APPLIED = "applied"
    ALREADY_APPLIED = "already_applied"
    NO_SUCH_BATCH = "no_such_batch"
    NOT_IN_DOUBT = "not_in_doubt"
    SENT_AGAIN_ANYWAY = "sent_again_anyway"
    NOT_UNDERSTOOD = "not_understood"


class Command(NamedTuple):
    """One command. ``id`` is a UUIDv7, ``issued_at`` epoch milliseconds, ``by`` who sent it, for people."""

    id: str
    account_id: str
    verb: str
    arguments: Mapping[str, str]
    issued_at: int
    by: str

    def answer(self, result: Result) -> tuple[str, None]:
        """The tombstone that tells how it went, as an entry for the journal."""
        return str(JournalKey(COMMAND_KIND, f"{self.id}/{result}")), None


def answered(key: bytes | None) -> tuple[str, str] | None:
    """The id of the command that a journal message answers, and its result; ``None`` for any other message."""
    kind, name = JournalKey.parse(key)
    command_id, _, result = name.partition("/")
    return (command_id, result) if kind == COMMAND_KIND else None


def encode_command(command: Command) -> bytes:
    """The value of one message of the parcels topic; its key is the account id."""
    return orjson.dumps({"kind": COMMAND_KIND, "version": COMMAND_VERSION, **command._asdict()})


def decode_delivery(value: bytes | None) -> Parcel | Command:
    """Read a message of the parcels topic.

    Raises:
        UnreadableMessage: It is of a kind or version that this release does not know, or damaged.
    """
    try:
        message = orjson.loads(value or b"")
        return _command_of(message) if message["kind"] == COMMAND_KIND else parcel_of(message)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UnreadableMessage(PARCEL_KIND, type(error).__name__) from None


def _command_of(message: Any) -> Command:
    if message["version"] != COMMAND_VERSION:
        raise UnreadableMessage(COMMAND_KIND, f"version {message['version']!r}")
    arguments = {str(name): str(content) for name, content in dict(message["arguments"]).items()}
    command_id, account_id, verb = (str(message[name]) for name in ("id", "account_id", "verb"))
    return Command(command_id, account_id, verb, arguments, int(message["issued_at"]), str(message["by"]))
