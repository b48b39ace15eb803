"""Which partition a key belongs to: Java's default partitioner (murmur2), computed by us.

The owner of an account is the owner of its partition, and the journal of an account sits in the partition of the same
number, so the answer may not depend on a client library's default. What must stay true: equal to
``Utils.toPositive(Utils.murmur2(key)) % partitions`` of Apache Kafka, for ever.
"""

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """32-bit murmur2 hash of ``data`` as Kafka's ``Utils.murmur2`` computes it, as an unsigned number."""
    length = len(data)
    value = (_SEED ^ length) & _MASK
    whole = length & ~3
    for at in range(0, whole, 4):
        block = (int.from_bytes(data[at : at + 4], "little") * _M) & _MASK
        block ^= block >> 24
        value = ((value * _M) & _MASK) ^ ((block * _M) & _MASK)
    if whole < length:
        value ^= int.from_bytes(data[whole:], "little")
        value = (value * _M) & _MASK
    value ^= value >> 13
    value = (value * _M) & _MASK
    return value ^ (value >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of ``key`` in a topic with ``partitions`` partitions."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
