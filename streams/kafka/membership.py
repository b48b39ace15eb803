"""Is this consumer a member of its group right now? Read from the group metadata that fences our transactions.

librdkafka hands the metadata out as opaque bytes, ``b"CGMDv2:"``, the generation (KIP-848: member epoch) as a native
int32, the group id and the member id each ended by NUL, and more. The format is private to librdkafka, so the client is
pinned exactly and a test holds it. What must stay true: metadata of a non-member never reaches a transaction. A broker
accepts offsets with generation -1 from anybody in the classic protocol, so nothing would be fenced.
"""

import struct

MAGIC = b"CGMDv2:"
_GENERATION = struct.Struct("=i")
_GROUP_ID_AT = len(MAGIC) + _GENERATION.size


class UnknownMetadataError(Exception):
    """The client hands out group metadata in a format that we do not know: another version of librdkafka."""


def is_member(metadata: bytes) -> bool:
    """Whether the consumer was in the group when ``metadata`` was taken: a generation of 0 or more, and a member id.

    Raises:
        UnknownMetadataError: these are not the bytes of the librdkafka that we are pinned to.
    """
    if not metadata.startswith(MAGIC) or len(metadata) <= _GROUP_ID_AT:
        raise UnknownMetadataError(f"group metadata begins with {metadata[: len(MAGIC)]!r}, not with {MAGIC!r}")
    (generation,) = _GENERATION.unpack_from(metadata, len(MAGIC))
    _group_id, _, rest = metadata[_GROUP_ID_AT:].partition(b"\0")
    member_id, _, _ = rest.partition(b"\0")
    return generation >= 0 and bool(member_id)
