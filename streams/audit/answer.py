"""From judged evidence to the report: figures, findings with examples, and what is not known."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from streams.audit import state as s
from streams.audit.budget import Budget, Span
from streams.audit.evidence import Evidence
from streams.audit.intents import PartitionBook, source_of
from streams.audit.judge import OF_ABSENCE, Anomaly, place_of, skipped, untold
from streams.audit.report import AccountFigures, Report

# The account of intents that name none.
NOBODY: Final = "none"
MOVING: Final = "moving"

Codes = Callable[[PartitionBook], Iterator[int]]
Suspect = tuple[int, int, tuple[Anomaly, ...]]


def answer(evidence: Evidence, codes: Codes, confirmed: Iterable[Suspect]) -> Report:
    """The report. ``codes`` are what is known of each intent, ``confirmed`` those with anomalies: key, code, names."""
    report = Report(open_batches=evidence.custody.states(), unknown=_unread(evidence))
    report.examples_max = evidence.rules.examples_max
    for name, found in evidence.noted.items():
        report.anomalies[str(name)] = found
    told_as_counts: Counter[str] = Counter()
    for book in evidence.intents.books():
        _count(evidence, Counter(zip(codes(book), book.accounts, strict=True)), report, told_as_counts)
    _findings(evidence, confirmed, report)
    if not evidence.blind:
        _early_commits(evidence, report)
    everybody: list[Report | AccountFigures] = [report, *report.accounts.values()]
    for figures in everybody:
        figures.pending = +figures.pending
    _beyond_the_log(evidence, report)
    _uncounted(evidence, report, told_as_counts)
    report.budget = _budget(evidence, report, evidence.budget, "as sent")
    _of_ledger(evidence, report)
    return report


def _unread(evidence: Evidence) -> list[str]:
    unread = [f"{count} messages of the {topic} could not be read" for topic, count in evidence.unreadable.items()]
    return unread + [f"the journal is damaged: {what}" for what in evidence.custody.damaged]


def _count(evidence: Evidence, counts: Counter[tuple[int, int]], report: Report, told_as_counts: Counter[str]) -> None:
    for (code, account), count in counts.items():
        account_id = evidence.intents.names.all[account] or NOBODY
        for figures in (report, report.account(account_id)):
            figures.intents += count if code & s.SEEN else 0
            if place := place_of(code):
                figures.pending[place] += count
            elif skipped(code):
                figures.skipped += count
            elif not code & s.FINALS and not untold(code):
                # On its way from one place to the next, unless it turns out to be lost.
                figures.pending[MOVING] += count if code & s.SEEN else 0
            for status in s.statuses_of(code & s.FINALS):
                figures.outcomes[status] += count
        report.dead_letters += count if code & s.LETTER else 0
        report.possible_duplicates += count if code & s.FLAGGED else 0
        report.unresolved += count if code & s.UNRESOLVED and not code & s.FINALS else 0
        if untold(code):
            told_as_counts[account_id] += count


def _findings(evidence: Evidence, confirmed: Iterable[Suspect], report: Report) -> None:
    removed: Counter[Anomaly] = Counter()
    for key, code, names in confirmed:
        account_id = _account_of(evidence, key)
        if code & s.SEEN and not code & s.FINALS and not place_of(code):
            report.pending[MOVING] -= 1
            report.account(account_id or NOBODY).pending[MOVING] -= 1
        for name in names:
            if code & s.DIM and name in OF_ABSENCE:
                removed[name] += 1
            else:
                example = _place(evidence, key) | {"account_id": account_id, "traces": s.traces_of(code)}
                report.anomaly(name, example, account_id or NOBODY)
    for name, count in removed.items():
        report.unknown.append(f"{count} intents look {name}, but retention has removed messages of their time")


def _account_of(evidence: Evidence, key: int) -> str | None:
    found = evidence.intents.find(key)
    return evidence.intents.names.all[found[0].accounts[found[1]]] if found else None


def _place(evidence: Evidence, key: int) -> dict[str, Any]:
    source = source_of(key)
    return {"topic": evidence.rules.intents_topic, "partition": source.partition, "offset": source.offset}


def _early_commits(evidence: Evidence, report: Report) -> None:
    """Where the intents right below a committed offset left no trace, it was committed before they were routed."""
    for book in evidence.intents.books():
        committed = evidence.committed.get(book.partition, 0)
        left_out = evidence.custody.skipped(book.partition)
        index, untraced = min(committed, book.end) - book.base, 0
        while index > 0 and not book.states[index - 1] & s.TRACES:
            index -= 1
            decided = any(start <= book.base + index < end for start, end in left_out)
            untraced += bool(book.states[index] & s.SEEN) and not decided
        if untraced and committed > evidence.horizons.get(book.partition, 0):
            topic = evidence.rules.intents_topic
            where = {"topic": topic, "partition": book.partition, "committed": committed, "untraced": untraced}
            report.anomaly(Anomaly.EARLY_COMMIT, where)


def _beyond_the_log(evidence: Evidence, report: Report) -> None:
    for key, what in evidence.beyond.items():
        partition, offset = source_of(key)
        if offset >= evidence.ends.get(partition, 0):
            report.anomaly(Anomaly.INVENTED, _place(evidence, key) | {"traces": [what]})


def _uncounted(evidence: Evidence, report: Report, told_as_counts: Counter[str]) -> None:
    """Intents without an outcome of their own, beyond those that batch events count."""
    if told_as_counts and not evidence.rules.whole:
        report.unknown.append("outcomes are told as counts of batches, which fit all intents and no range of them")
        return
    for account_id, count in told_as_counts.items():
        missing = max(0, count - evidence.counted[account_id])
        for figures in (report, report.account(account_id)):
            figures.outcomes["counted"] += count - missing
        if missing:
            example = {"account_id": account_id, "traces": [f"{count} settled, {count - missing} counted"]}
            report.anomaly(Anomaly.LOST, example, account_id, missing)


def _budget(evidence: Evidence, report: Report, budget: Budget, side: str) -> dict[str, Any]:
    limits_of = evidence.rules.limits_of
    minutes = list(budget.minutes(lambda account: limits_of(account).requests_per_minute_per_token))
    halves = list(budget.mint_windows(lambda account: limits_of(account).token_mints_per_30_min))
    accounts = list(budget.account_minutes(lambda account: limits_of(account).requests_per_minute))
    held_to = {
        Anomaly.RATE_EXCEEDED: minutes,
        Anomaly.ACCOUNT_RATE_EXCEEDED: accounts,
        Anomaly.MINTS_EXCEEDED: halves,
    }
    over = [(name, each) for name, spans in held_to.items() for each in spans if each[1].requests > each[1].limit]
    for name, (account_id, span) in over:
        report.anomaly(name, {"account_id": account_id, "times": side, **_told(span)}, account_id)
    return {
        "kept": not over,
        "requests": budget.requests,
        "mints": budget.mints,
        "tokens": budget.tokens,
        "busiest_minute": _busiest(minutes),
        "busiest_account_minute": _busiest(accounts),
        "busiest_mint_window": _busiest(halves),
    }


def _busiest(spans: list[tuple[str, Span]]) -> dict[str, Any] | None:
    if not spans:
        return None
    return _told(max((span for _, span in spans), key=lambda span: span.requests / span.limit))


def _told(span: Span) -> dict[str, Any]:
    return {"requests": span.requests, "limit": span.limit, "began_at": round(span.began_s * 1000), "who": span.who}


def _of_ledger(evidence: Evidence, report: Report) -> None:
    ledger = evidence.ledger
    if ledger is None:
        return
    report.budget["ledger"] = _budget(evidence, report, ledger.budget, "as received")
    report.applied, report.applied_twice = ledger.applied()
    report.covered["ledger"] = {"requests": dict(ledger.requests), "over_limit": ledger.over_limit}
    if ledger.indistinguishable:
        report.unknown.append(f"{ledger.indistinguishable} intents share receiver and starts_at with another one")
    if evidence.rules.whole:
        for where in ledger.invented():
            report.anomaly(Anomaly.INVENTED_PAYLOAD, {"where": where})
