"""Which texts may appear on a stranger's phone, in which form, and how long they are."""

import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.contracts.outcome import Reason
from streams.intake.reasons import MARKS_IN_A_ROW_MAX, Code
from streams.intake.text import tidy_call_reason, tidy_label_name

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Acme Bank & Söhne", id="Latin"),
        pytest.param("ਤੁਹਾਡਾ ਪਾਰਸਲ ਅੱਜ ਆਵੇਗਾ", id="Gurmukhi"),
        pytest.param("आपका पार्सल आज आ रहा है", id="Devanagari"),
        pytest.param("শ্রী\u200dলক্ষ্মী ভাণ্ডার", id="Bengali with a joiner"),
        pytest.param("ക്ഷ്\u200c ഫോൺ വിളിക്കുന്നു", id="Malayalam with a non-joiner"),
        pytest.param("می\u200cخواهم زنگ بزنم", id="Persian with a non-joiner"),  # noqa: RUF001 - Persian
        pytest.param("آپ کا پارسل آج پہنچے گا", id="Urdu"),
        pytest.param("พัสดุของคุณจะถึงวันนี้", id="Thai"),
        pytest.param("שָׁלוֹם, הַחֲבִילָה בַּדֶּרֶךְ", id="pointed Hebrew"),
        pytest.param("བསྒྲུབས་པ་རྣམས་ཀྱི", id="Tibetan"),
        pytest.param("မြွှေကို တွေ့ပြီး", id="Myanmar"),
        pytest.param(f"Parcel for the {FAMILY}", id="joined emoji"),
        pytest.param("Parcel \u2764\ufe0f for you \U0001f44b\U0001f3fd", id="emoji with a variant and a skin tone"),
        pytest.param("Non\u00a0breaking space here", id="no-break space"),
    ],
)
def test_text_of_a_living_script_passes_unchanged(text: str) -> None:
    assert tidy_call_reason(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("\u200dAcme", Code.TEXT_CHARACTERS, id="joiner at the start"),
        pytest.param("Acme\u200d Bank", Code.TEXT_CHARACTERS, id="joiner behind a Latin letter"),
        pytest.param("बैंक \u200dबैंक", Code.TEXT_CHARACTERS, id="joiner behind a space"),
        pytest.param("बैंक\u200c\u200d", Code.TEXT_CHARACTERS, id="joiner behind a joiner"),
        pytest.param("\u0661\u200d\u0662\u0663", Code.TEXT_CHARACTERS, id="joiner behind a digit"),
        pytest.param("\U0001f3f4\U000e0067\U000e007f flag", Code.TEXT_CHARACTERS, id="flag made of tags"),
        pytest.param("a" + "\u0315" * (MARKS_IN_A_ROW_MAX + 1) + "bc", Code.TEXT_MARKS, id="too many marks"),
        pytest.param("a\u20dd" + "\u0315" * MARKS_IN_A_ROW_MAX + "bc", Code.TEXT_MARKS, id="enclosing marks count"),
        pytest.param("\u3164 \u3164", Code.TEXT_INVISIBLE, id="fillers"),
        pytest.param("\u0315 \u0315", Code.TEXT_INVISIBLE, id="marks on nothing"),
        pytest.param("\x85Acme\x85Bank", Code.TEXT_CHARACTERS, id="C1 control inside"),
    ],
)
def test_text_that_hides_something_is_refused(text: str, code: Code) -> None:
    result = tidy_label_name(text)
    assert isinstance(result, Reason)
    assert result.code == code
    assert result.message.startswith("label_name ")


def test_as_many_marks_as_allowed_pass() -> None:
    text = "bc" + "\u0315" * MARKS_IN_A_ROW_MAX
    assert tidy_label_name(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("\U0001f4e6" * 20, None, id="40 units"),
        pytest.param("\U0001f4e6" * 20 + "x", Code.TEXT_TOO_LONG, id="41 units in 21 code points"),
        pytest.param("e\u0301" * 40, None, id="40 once composed"),
        pytest.param("\u0958" * 20, None, id="40 once composed, twice as many as sent"),
        pytest.param("\u0958" * 21, Code.TEXT_TOO_LONG, id="42 once composed"),
    ],
)
def test_length_is_counted_in_units_of_the_composed_text(text: str, expected: Code | None) -> None:
    result = tidy_label_name(text)
    if expected is None:
        assert result == unicodedata.normalize("NFC", text)
    else:
        assert isinstance(result, Reason)
        assert result.code == expected


@settings(deadline=None)
@given(st.text(min_size=1, max_size=60))
@example("\U0010ffff" * 20)
def test_tidy_text_is_a_fixed_point_within_its_bounds(text: str) -> None:
    result = tidy_label_name(text)
    if isinstance(result, Reason):
        return
    assert tidy_label_name(result) == result
    assert 3 <= len(result) <= len(result.encode("utf-16-le")) // 2 <= 40
    assert not {unicodedata.category(c) for c in result} & {"Cc", "Cs", "Co", "Zl", "Zp"}


def test_every_format_character_but_the_joiners_is_refused() -> None:
    refused = {
        chr(point)
        for point in range(sys.maxunicode + 1)
        if unicodedata.category(chr(point)) in {"Cf", "Zl", "Zp"}
        and isinstance(tidy_label_name(f"अब{chr(point)}क"), Reason)
    }
    formats = {chr(p) for p in range(sys.maxunicode + 1) if unicodedata.category(chr(p)) in {"Cf", "Zl", "Zp"}}
    assert formats - refused == {"\u200c", "\u200d"}


def test_every_combining_mark_is_known() -> None:
    marks = [chr(p) for p in range(sys.maxunicode + 1) if unicodedata.category(chr(p)) in {"Mn", "Me"}]
    passed = [mark for mark in marks if isinstance(tidy_label_name(f"ab{mark * 12}"), str)]
    assert len(marks) > 1900
    assert passed == []
