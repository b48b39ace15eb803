"""An account's labels, as a worker reads them: on the budget, on record, and told to whoever can mend it."""

import asyncio

from structlog.testing import capture_logs

from streams.lane.verdict import Accepted, Listed, Minted, Refuse
from tests.worker.parts import LABEL, Shell, row
from tests.worker.virtual import settled

STRANGE = "00000000-0000-4000-8000-000000000000"


async def asked(shell, *rows):
    """Offer intents, and let the lane ask for the first page."""
    shell.offer(*rows)
    await settled()
    shell.api.mints[0].answer.set_result(Minted("token"))
    await asyncio.sleep(1)  # virtual: beyond the spacing of requests
    assert [page.action.page for page in shell.api.pages] == [1]
    assert not shell.api.posts


async def listed(shell, *labels):
    """Answer the first page with these labels, the second with none."""
    for page in (frozenset(labels), frozenset()):
        shell.api.pages[-1].answer.set_result(Listed(page))
        await asyncio.sleep(2)  # virtual: the next request, and the linger


def test_what_names_an_unknown_label_is_rejected_with_a_dead_letter_and_told_once(play):
    async def story():
        shell = Shell(labels="reject")
        with capture_logs() as logged:
            await asked(shell, row(0), row(1, label_id=STRANGE), row(2, label_id=STRANGE))
            await listed(shell, LABEL)
        assert [one.row.intent_id for one in shell.api.posts[0].action.held] == ["intent-0"]
        shell.api.posts[0].answer.set_result(Accepted("batch"))
        await settled()
        told = {(outcome["intent_id"], outcome["status"]) for outcome in shell.committer.outcomes()}
        assert told == {("intent-0", "accepted"), ("intent-1", "rejected"), ("intent-2", "rejected")}
        codes = {outcome["reason"]["code"] for outcome in shell.committer.outcomes() if outcome["reason"]}
        assert codes == {"unknown_label"}
        letters = shell.committer.messages("dead_letters")
        assert [dict(letter.headers)["callstream.reason"] for letter in letters] == [b"unknown_label"] * 2
        assert [event["label_id"] for event in logged if event["event"] == "label_unknown"] == [STRANGE]
        metrics = shell.runner.observer.metrics
        assert metrics.unknown_labels._value.get() == 1
        assert metrics.requests.labels("labels", "listed")._value.get() == 2
        kinds = [told["request"] for told in shell.committer.told("requests")]
        assert kinds == ["mint", "labels", "labels", "post"]
        shell.stop()

    play(story)


def test_a_list_that_cannot_be_read_is_told_once_and_holds_up_nobody(play):
    async def story():
        shell = Shell(labels="reject")
        with capture_logs() as logged:
            await asked(shell, row(0, label_id=STRANGE))
            shell.api.pages[0].answer.set_result(Refuse("forbidden-error"))
            await asyncio.sleep(2)  # virtual
            assert len(shell.api.posts) == 1
            shell.offer(row(1), offset=1)
            await asyncio.sleep(20)  # virtual: it is tried again
            shell.api.pages[1].answer.set_result(Refuse("forbidden-error"))
            await settled()
        (event,) = [event for event in logged if event["event"] == "labels_unread"]
        assert event["cause"] == "forbidden-error"
        shell.stop()

    play(story)


def test_nothing_is_asked_for_on_a_lease_that_is_gone(play):
    async def story():
        shell = Shell(labels="warn")
        shell.committer.at_once = True
        shell.offer(row(0))
        await settled()
        shell.lease.lost = True
        shell.api.mints[0].answer.set_result(Minted("token"))
        await asyncio.sleep(10)  # virtual
        assert not shell.api.pages
        shell.stop()

    play(story)
