"""What a write of a lane is a step of, for failpoints."""

from streams.contracts.outcome import Status
from streams.lane.actions import Write


def step_of(write: Write) -> str:
    """``name/which`` with a name of :data:`streams.failpoint.STEPS` and the batch; empty for any other write."""
    ref = next((key.removeprefix("batch/") for key, _ in write.entries if key.startswith("batch/")), "")
    asked = {record.request for record in write.requests}
    if write.serial and not asked:
        return f"intent/{ref}" if ref else "mint"
    if "post" in asked and any(group.status is Status.ACCEPTED for group in write.outcomes):
        return f"accepted/{ref}"
    if "check" in asked and write.outcomes:
        return f"status/{ref}"
    return ""
