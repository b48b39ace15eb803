"""What a label name and a call reason may be made of, and how long they are.

Order: trimmed, composed (NFC), then counted, since the text is sent as it is counted. It is shown on a stranger's
phone: nothing may change the direction or the order of what stands around it, hide in it, or climb over it. What must
stay true: an ordinary text in any living script passes, with its joiners and stacked vowels, and so does every emoji
but the flags made of tag characters.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import chain
from typing import Final, NamedTuple

from streams.contracts.intent import CALL_REASON_MAX, CALL_REASON_MIN, LABEL_NAME_MAX, LABEL_NAME_MIN
from streams.contracts.outcome import Reason
from streams.intake.reasons import MARKS_IN_A_ROW_MAX, Code, because

# Zero width non-joiner and joiner: Persian and the scripts of India are misspelt without them, and emoji fall apart.
_JOINERS: Final = frozenset("\u200c\u200d")

# Control, format (direction marks and overrides, tags, zero width, soft hyphen), surrogate, private use, and the two
# separators that break a line.
_REFUSED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})

# Letters and symbols by category that show as nothing: Hangul fillers, the empty Braille pattern.
_BLANK_LETTERS: Final = "\u115f\u1160\u3164\uffa0\u2800"

# Unassigned characters pass, because the standard grows faster than workers are upgraded; but not the noncharacters,
# nor those that are reserved for invisible use (Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties).
_NEVER_TEXT: Final = re.compile(
    "[\u2065\ufdd0-\ufdef\ufff0-\ufff8\U000e0000-\U000e0fff"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
    + "]"
)

# Where all combining marks are: the first two planes, and the supplementary variation selectors. To ask the other
# million code points would take ten times as long.
_MARKS_AMONG: Final = (range(0x20000), range(0xE0100, 0xE01F0))

# Truecaller's guidelines for call reasons: none of these anywhere, and no full stop, comma, dash (or space) at an end.
_DISLIKED: Final = re.compile(r"[!@#$%^&*()_+/]")
_DISLIKED_ENDS: Final = frozenset(".,-")

# Labels and reasons are cut from templates, and looking one up costs a tenth of looking at it (a thirtieth, outside of
# ASCII). At most 500 characters each as sent: 8 MiB per memory at the very worst.
_TEXTS_REMEMBERED: Final = 4096


@lru_cache(_TEXTS_REMEMBERED)
def tidy_label_name(text: str) -> str | Reason:
    """Return a label name as it is to be sent, or why it cannot be."""
    return _tidy(text, "label_name", LABEL_NAME_MIN, LABEL_NAME_MAX)


@lru_cache(_TEXTS_REMEMBERED)
def tidy_call_reason(text: str) -> str | Reason:
    """Return a call reason as it is to be sent, or why it cannot be."""
    return _tidy(text, "call_reason", CALL_REASON_MIN, CALL_REASON_MAX)


@lru_cache(_TEXTS_REMEMBERED)
def is_disliked(call_reason: str) -> bool:
    """Tell whether a tidy call reason breaks the API's character rules."""
    ends = {call_reason[0], call_reason[-1]}
    return not ends.isdisjoint(_DISLIKED_ENDS) or _DISLIKED.search(call_reason) is not None


def _tidy(text: str, field: str, least: int, most: int) -> str | Reason:
    """At least ``least`` code points, at most ``most`` UTF-16 units: the API does not say in which unit it counts."""
    text = unicodedata.normalize("NFC", text.strip())
    if len(text) < least:
        return because(Code.TEXT_TOO_SHORT, field)
    # 16-bit units: what lies beyond the basic plane counts twice, as in Java and JavaScript.
    if len(text) + sum(character > "\uffff" for character in text) > most:
        return because(Code.TEXT_TOO_LONG, field)
    if not text.isprintable() and _has_refused_character(text):
        return because(Code.TEXT_CHARACTERS, field)
    if text.isascii():
        return text
    patterns = _mark_patterns()
    if patterns.flood.search(text):
        return because(Code.TEXT_MARKS, field)
    return text if patterns.visible.search(text) else because(Code.TEXT_INVISIBLE, field)


def _has_refused_character(text: str) -> bool:
    before = ""
    for character in text:
        if character in _JOINERS:
            if not _joins(before):
                return True
        elif unicodedata.category(character) in _REFUSED or _NEVER_TEXT.match(character):
            return True
        before = character
    return False


def _joins(before: str) -> bool:
    """Tell whether a joiner means something behind ``before``: a letter, mark or symbol, but no Latin letter."""
    return not before.isascii() and unicodedata.category(before)[0] in "LMS"


class _MarkPatterns(NamedTuple):
    flood: re.Pattern[str]
    visible: re.Pattern[str]


@cache
def _mark_patterns() -> _MarkPatterns:
    """Compile the patterns that know every combining mark: a hundredth of a second, once, when somebody needs them."""
    marks = _as_class(c for c in map(chr, chain(*_MARKS_AMONG)) if unicodedata.category(c) in {"Mn", "Me"})
    return _MarkPatterns(
        flood=re.compile(f"[{marks}]{{{MARKS_IN_A_ROW_MAX + 1}}}"),
        visible=re.compile(f"[^{marks}{_BLANK_LETTERS}\u200c\u200d\\s]"),
    )


def _as_class(characters: Iterable[str]) -> str:
    """Return the inside of a character class, with runs of neighbours as ranges."""
    runs: list[list[str]] = []
    for character in characters:
        if runs and ord(character) == ord(runs[-1][1]) + 1:
            runs[-1][1] = character
        else:
            runs.append([character, character])
    return "".join(f"{first}-{last}" for first, last in runs)
