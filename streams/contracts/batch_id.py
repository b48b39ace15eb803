"""What can be a batch id: the API's opaque name of a batch, or what an operator says it is."""

import re
from typing import Final

_BATCH_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")


def is_batch_id(text: str) -> bool:
    """Whether ``text`` can be used as a batch id: opaque, but safe in a URL and bounded."""
    return _BATCH_ID.fullmatch(text) is not None
