"""Data Prep's calculated expressions: grammar, functions, and Java's dates."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlio_kit.local_platform.data_prep.expressions import Scope, compile_expression, compile_path
from chatlio_kit.local_platform.data_prep.functions import FUNCTIONS, RESERVED
from chatlio_kit.local_platform.data_prep.java_time import (
    DEFAULT_FORMATS,
    DateError,
    JavaPattern,
    parse_default,
    rfc3339,
)
from chatlio_kit.local_platform.data_prep.values import (
    EvaluationError,
    ExpressionError,
    MissingAttributeError,
)

NOW = datetime(2024, 5, 6, 7, 8, 9, 987_654, tzinfo=UTC)
TRANSCRIPT_TIME = (
    'date(concat(substr(endedAt,0,19), iif(matches_regex(endedAt,".*Z"),"Z",right(endedAt,6))),'
    " \"yyyy-MM-dd'T'HH:mm:ssXXX\")"
)
TRANSCRIPT_ID = 'sha256(concat("transcript|", conversationUUID, "|", endedAt), "UTF-8")'

OFFSETS = st.integers(-18 * 60, 18 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=OFFSETS)
HOSTILE_TEXT = st.text(st.characters(codec="utf-8"))


def value_of(text, record=None):
    """Evaluate an expression on a record."""
    return compile_expression(text)(Scope(record or {}, NOW))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('concat("Hi, ", "there", "!")', "Hi, there!"),
        ('explode("Hi, there!", " ")', ["Hi,", "there!"]),
        ('instr("adobe.com", "com")', 6),
        ('replacestr("This is a string re test", "re", "replace")', "This is a string replace test"),
        ('substr("This is a substring test", 7, 8)', " a subst"),
        ('lower("HeLLo")', "hello"),
        ('lcase("HeLLo")', "hello"),
        ('upper("HeLLo")', "HELLO"),
        ('ucase("HeLLo")', "HELLO"),
        ('split("Hello world", " ")', ["Hello", "world"]),
        ('join(" ", to_array(true, "Hello", "world"))', "Hello world"),
        ('lpad("bat", 8, "yz")', "yzyzybat"),
        ('rpad("bat", 8, "yz")', "batyzyzy"),
        ('left("abcde", 2)', "ab"),
        ('right("abcde", 2)', "de"),
        ('ltrim(" hello")', "hello"),
        ('rtrim("hello ")', "hello"),
        ('trim(" hello ")', "hello"),
        ('"string1".equals("STRING1")', False),
        ('"string1".equalsIgnoreCase("STRING1")', True),
        (
            'extract_regex("E259,E259B_009,1_1", "([^,]+),[^,]*,([^,]+)")',
            ["E259,E259B_009,1_1", "E259", "1_1"],
        ),
        ('matches_regex("E259,E259B_009,1_1", "([^,]+),[^,]*,([^,]+)")', True),
        ('sha1("my text", "UTF-8")', "c3599c11e47719df18a2448690840c5dfcce3c80"),
        ('sha256("my text", "UTF-8")', "7330d2b39ca35eaf4cb95fc846c21ee6a39af698154a83a586ee270a0d372104"),
        ('md5("my text", "UTF-8")', "d3b96ce8c9fb4e9bd0198d03ba6852c7"),
        ('crc32("my text", "UTF-8")', "8df92e80"),
        ('get_url_protocol("https://platform.adobe.com/home")', "https"),
        ('get_url_host("https://platform.adobe.com/home")', "platform.adobe.com"),
        ('get_url_port("sftp://example.com//home/joe/employee.csv")', 22),
        ('get_url_path("sftp://example.com//home/joe/employee.csv")', "//home/joe/employee.csv"),
        ('get_url_query_str("foo://a.b:8042/c?name=ferret#nose", "retain")', {"name": "ferret#nose"}),
        ('get_url_query_str("foo://a.b:8042/c?name=ferret#nose", "remove")', {"name": "ferret"}),
        (
            'get_url_query_str("foo://a.b:8042/c?name=ferret#nose", "append")',
            {"name": "ferret", "_anchor_": "nose"},
        ),
        ("dformat(1571829875000, \"yyyy-MM-dd'T'HH:mm:ss.SSSX\")", "2019-10-23T11:24:35.000Z"),
        ('date("2019-10-23 11:24", "yyyy-MM-dd HH:mm", now())', datetime(2019, 10, 23, 11, 24, tzinfo=UTC)),
        ('date_part("MM", date("2019-10-17"))', 10),
        ("size_of([1, 2, 3, 4])", 4),
        ("is_empty([1, 2, 3])", False),
        ('to_object("firstName", "John", "lastName", "Doe")', {"firstName": "John", "lastName": "Doe"}),
        (
            'str_to_object("firstName=John,lastName=Doe,phone=123 456 7890", "=", ",")',
            {"firstName": "John", "lastName": "Doe", "phone": "123 456 7890"},
        ),
        ("nullify()", None),
        ('get_keys({"book1": "Pride and Prejudice", "book2": "1984"})', ["book1", "book2"]),
        ('get_values("firstName - John , lastName - Cena", "firstName", "-", ",")', "John"),
        ('coalesce(null, null, null, "first", null, "second")', "first"),
        ('first("1", "2", "3")', "1"),
        ('last("1", "2", "3")', "3"),
        ("add_to_array(['a', 'b'], 'c', 'd')", ["a", "b", "c", "d"]),
        ("join_arrays(['a', 'b'], ['c'], ['d', 'e'])", ["a", "b", "c", "d", "e"]),
        ("to_array(false, 1, null, 2, 3)", [1, 2, 3]),
        ('decode("pa", "ca", "California", "pa", "Pennsylvania", "N/A")', "Pennsylvania"),
        ('decode("xx", "ca", "California", "pa", "Pennsylvania", "N/A")', "N/A"),
        ('iif("s".equalsIgnoreCase("S"), "True", "False")', "True"),
        ("min(3, 1, 4)", 1),
        ("max(3, 1, 4)", 4),
        ('to_decimal("20.5")', 20.5),
        ('to_integer("12")', 12),
        ('json_to_object("{\\"info\\":{\\"firstName\\":\\"John\\"}}")', {"info": {"firstName": "John"}}),
    ],
)
def test_a_documented_sample_gives_its_documented_output(expression, expected):
    """A sample of the documentation gives what the documentation shows (Data Prep: mapping functions)."""
    result = value_of(expression)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7.0 / 2", 3.5),
        ("-7 mod 3", -1),
        ("7 % 3", 1),
        ("~5", -6),
        ("1 < 2 && 2 >= 2 || false", True),
        ("not (1 ne 1) and 2 gt 1", True),
        ("1 eq 1.0", True),
        ('"a" lt "b" or 1 le 0', True),
        ("!true", False),
        ("null == null", True),
        ("null != 1", True),
        ("visitor.email", "v@example.com"),
        ("visitor.tags[1]", "b"),
        ("chats[*].id", [1, 2]),
        ("chats[1].id", 2),
        ("visitor.street\\.name", "High Street"),
        ("${First Name}", "Ann"),
        ("${First\\.Name}", "dotted"),
        ("visitor.${format}", "f"),
        ("${visitor.email}", "v@example.com"),
        ("android", "not the word and"),
        ('"a\\"b\\\\c"', 'a"b\\c'),
        ("'it\\'s'", "it's"),
        ('visitor.email.equals("v@example.com")', True),
        ('json_to_object("{\\"a\\":[{\\"b\\":7}]}").a[0].b', 7),
        ("$price", 3),
        ("größe", 4),
        ("trueish", 5),
        ("nullable", 6),
    ],
)
def test_the_grammar_reads_operators_paths_and_literals(expression, expected):
    """Operators, word operators, paths, wrapped names, wildcards and escapes work as documented."""
    record = {
        "visitor": {
            "email": "v@example.com",
            "tags": ["a", "b"],
            "street.name": "High Street",
            "format": "f",
        },
        "chats": [{"id": 1}, {"id": 2}],
        "First Name": "Ann",
        "First.Name": "dotted",
        "android": "not the word and",
        "$price": 3,
        "größe": 4,
        "trueish": 5,
        "nullable": 6,
    }
    assert value_of(expression, record) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "concat(",
        'concat("a"',
        "First Name",
        "a..b",
        "a.b[",
        "a.b[-1]",
        '"open',
        "1 +",
        "a b",
        "${}",
        "concat()",
        "substr(a, 1)",
        "iif(true, 1)",
        "visitor.format",
        "date",
        "if",
        "size",
        "visitor.new",
        "!" * 4000 + "true",
        '"' + "a" * 4095 + '"',
        "nvl(a, b)",
        "to_string(1)",
        "Concat(a)",
        'contains_key("a.b")',
        "contains_key(a.b)",
        "is_set(a)",
        "ua_os_name(a)",
        "filterArray(a)",
        'a.trim("b")',
    ],
)
def test_an_invalid_expression_is_refused_before_any_record(expression):
    """Compilation finds syntax errors, reserved words, unknown functions, wrong counts and long strings."""
    with pytest.raises(ExpressionError):
        compile_expression(expression)


@pytest.mark.parametrize("name", ["nvl", "to_string", "base64"])
def test_a_function_that_the_mapper_lacks_is_named(name):
    """`nvl` and the like do not exist in the mapper, and the message names the unknown function."""
    with pytest.raises(ExpressionError, match=f"function '{name}' is not known") as caught:
        compile_expression(f"{name}(a, b)")
    assert caught.value.code == "UNKNOWN_FUNCTION"


def test_contains_key_is_refused_with_the_reason():
    """The form of `contains_key`'s argument is unsettled, and the refusal says so."""
    with pytest.raises(ExpressionError, match="unsettled"):
        compile_expression('contains_key("visitor.email")')


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_reserved_word_is_a_field_only_when_it_is_wrapped(name):
    """Keywords and function names must be wrapped in `${}`, in expressions and plain attributes."""
    with pytest.raises(ExpressionError):
        compile_path(name)
    assert value_of(f"${{{name}}}", {name: "found"}) == "found"


@pytest.mark.parametrize(
    "expression",
    [
        'concat("a", null)',
        'substr("abc", 2, 2)',
        'substr("abc", -1, 1)',
        'left("abc", -1)',
        'left("😀", 1)',
        'sha256(null, "UTF-8")',
        'sha256("a", "EBCDIC")',
        'matches_regex("a", "(")',
        'matches_regex("a", "[a-z&&[^b]]")',
        'matches_regex("a", "\\\\p{L}")',
        "1 / 0",
        "1 mod 0",
        '1 + "1"',
        '1 == "1"',
        '"a" < 1',
        "iif(1, 2, 3)",
        "true and 1",
        'to_integer("2147483648")',
        'to_integer("1.5")',
        'to_decimal("NaN")',
        'json_to_object("{")',
        'json_to_object("[NaN]")',
        "first([])",
        'date("yesterday")',
        'date("2024-02-30", "yyyy-MM-dd")',
        'date("2024-01-01", "yyyy-ww-dd")',
        "date(1700000000)",
        "date(null)",
        'format("2024-01-01", "yyyy")',
        "dformat(99999999999999999999, 'yyyy')",
        'zone_date_to_zone(now(), "Mars/Olympus")',
        'set_date_part("month", 13, now())',
        'lpad("a", 99999999, "b")',
        'to_object("a")',
        "min(1, 'a')",
        'json_to_object("{}").a',
    ],
)
def test_an_expression_that_fails_on_a_record_fails_by_itself(expression):
    """A failed evaluation is an evaluation error, never another exception."""
    with pytest.raises(EvaluationError):
        value_of(expression)


@pytest.mark.parametrize(
    "expression",
    ["missing", "visitor.missing", "none.email", "text.email", "list[3]", "list[*].id", "text[0]"],
)
def test_a_reference_to_a_missing_attribute_fails_the_record_separately(expression):
    """An attribute that the record does not have is not an evaluation error but fails the record."""
    record = {"visitor": {}, "none": None, "text": "x", "list": [{"id": 1}, {}]}
    with pytest.raises(MissingAttributeError, match="does not exist"):
        value_of(f"concat({expression}, 'x')", record)


def test_an_attribute_that_is_null_exists():
    """An explicit null is a value: `coalesce` and `is_empty` see it."""
    assert value_of('coalesce(a, "b")', {"a": None}) == "b"
    assert value_of("is_empty(a)", {"a": None}) is True


def test_iif_and_the_logical_operators_evaluate_only_what_they_need():
    """The branch that is not taken may even read attributes that the record does not have."""
    assert value_of("iif(true, 1, missing)") == 1
    assert value_of("iif(false, missing, 2)") == 2
    assert value_of("false and missing") is False
    assert value_of("true or missing") is True


def test_matches_regex_wants_the_whole_string():
    """`matches_regex` is Java's `String.matches`: no match inside, and a dot stops at every line end."""
    assert value_of('matches_regex("2024Z", ".*Z")') is True
    assert value_of('matches_regex("Z2024", ".*Z")') is False
    assert value_of('matches_regex(a, ".*Z")', {"a": "a\rZ"}) is False
    assert value_of('matches_regex(a, ".*Z")', {"a": "a\u2028Z"}) is False
    assert value_of('matches_regex(a, "[.]\\\\.(?<n>.)")', {"a": "..x"}) is True
    assert value_of('matches_regex(a, "\\\\d+")', {"a": "٣"}) is False


def test_the_clock_functions_ask_the_given_time():
    """`now()` is the given time to the second, and `timestamp()` its milliseconds."""
    assert value_of("now()") == NOW.replace(microsecond=0)
    assert value_of("timestamp()") == 1714979289987
    assert value_of("concat(now(), '')") == "2024-05-06T07:08:09Z"


def test_random_ids_differ():
    """`uuid()` and `guid()` give another id each time."""
    assert len({value_of(f"{name}()") for name in ("uuid", "guid", "uuid", "guid")}) == 4


def test_dates_are_split_and_combined():
    """Date parts are read and set, and dates made and moved between zones."""
    made = 'make_date_time(2019, 10, 17, 11, 55, 12, 999, "America/Los_Angeles")'
    assert rfc3339(value_of(made)) == "2019-10-17T11:55:12-07:00"
    assert rfc3339(value_of(f"zone_date_to_utc({made})")) == "2019-10-17T18:55:12Z"
    assert rfc3339(value_of(f'zone_date_to_zone({made}, "Europe/Paris")')) == "2019-10-17T20:55:12+02:00"
    assert rfc3339(value_of(f'set_date_part("m", 4, {made})')) == "2019-04-17T11:55:12-07:00"
    parts = [
        value_of(f'date_part("{part}", {made})') for part in ("yyyy", "q", "dy", "dd", "hh12", "mi", "ms")
    ]
    assert parts == [2019, 4, 290, 17, 11, 55, 0]


@given(HOSTILE_TEXT, HOSTILE_TEXT)
def test_concat_and_sha256_equal_hashlib_for_any_text(conversation, ended):
    """The transcript id by the mapper is the digest that hashlib gives, whatever the texts hold."""
    record = {"conversationUUID": conversation, "endedAt": ended}
    expected = hashlib.sha256(f"transcript|{conversation}|{ended}".encode()).hexdigest()
    assert value_of(TRANSCRIPT_ID, record) == expected


@given(HOSTILE_TEXT, st.sampled_from(["sha1", "sha512", "md5"]))
def test_the_other_hashes_equal_hashlib_for_any_text(text, algorithm):
    """Every hash is the lower-case hex of the text's UTF-8 bytes, and UTF-8 is the default charset."""
    expected = hashlib.new(algorithm, text.encode()).hexdigest()
    assert (
        value_of(f'{algorithm}(a, "UTF-8")', {"a": text})
        == value_of(f"{algorithm}(a)", {"a": text})
        == expected
    )


@given(HOSTILE_TEXT.filter(lambda text: all(ord(each) < 0x10000 for each in text)), st.data())
def test_substr_left_and_right_are_slices(text, data):
    """Inside a text, `substr`, `left` and `right` are its slices."""
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, len(text) - start))
    assert value_of(f"substr(a, {start}, {length})", {"a": text}) == text[start : start + length]
    assert value_of(f"left(a, {start})", {"a": text}) == text[:start]
    assert value_of(f"right(a, {start})", {"a": text}) == text[len(text) - start :]


@given(HOSTILE_TEXT)
def test_any_text_can_be_written_as_a_literal(text):
    """A text between quotes, with backslashes before backslashes and quotes, is that text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if len(escaped) <= 4000:
        assert value_of(f'"{escaped}"') == text


@settings(max_examples=300)
@given(
    st.text(max_size=60) | st.lists(st.sampled_from([*FUNCTIONS, *'().,"${}[]*+-/ !=<>&|1a'])).map("".join)
)
def test_no_string_makes_the_parser_fail_unexpectedly(text):
    """Any text at all is an expression, or is refused as none."""
    try:
        evaluate = compile_expression(text)
    except ExpressionError:
        return
    try:
        evaluate(Scope({}, NOW))
    except (EvaluationError, MissingAttributeError, ArithmeticError):
        return


@pytest.mark.parametrize("fraction", ["", ".123", ".123456", ".123456789"])
@pytest.mark.parametrize(
    ("zone", "offset"),
    [("Z", timedelta()), ("+02:00", timedelta(hours=2)), ("-05:30", -timedelta(hours=5, minutes=30))],
)
def test_a_transcripts_time_is_read_with_any_fraction_and_zone(fraction, zone, offset):
    """The live transcript mapping gives the second of `endedAt`, with its offset, whatever its fraction."""
    moment = value_of(TRANSCRIPT_TIME, {"endedAt": f"2024-02-29T23:59:58{fraction}{zone}"})
    assert moment == datetime(2024, 2, 29, 23, 59, 58, tzinfo=timezone(offset))
    assert rfc3339(moment) == f"2024-02-29T23:59:58{zone}"


@given(MOMENTS, st.integers(0, 9))
def test_a_transcripts_time_equals_datetime_for_any_instant(moment, decimals):
    """For every instant with zero to nine decimals and any offset the mapper gives its whole second."""
    fraction = f".{moment.microsecond:06d}000"[: decimals + 1] if decimals else ""
    text = _local(moment) + fraction + _offset(moment)
    assert value_of(TRANSCRIPT_TIME, {"endedAt": text}) == moment.replace(microsecond=0)


@given(MOMENTS, st.integers(1, 9), st.sampled_from(["X", "XX", "XXX", "Z"]))
def test_a_java_pattern_reads_and_writes_what_datetime_means(moment, decimals, zone):
    """Reading equals datetime, cut at the pattern's decimals, and writing gives the text back."""
    fraction = f"{moment.microsecond:06d}000"[:decimals]
    pattern = JavaPattern(f"yyyy-MM-dd'T'HH:mm:ss.{'S' * decimals}{zone}")
    text = f"{_local(moment)}.{fraction}{_written_offset(moment, zone)}"
    expected = moment.replace(microsecond=int(fraction[:6].ljust(6, "0")))
    assert pattern.parse(text) == expected
    assert pattern.format(expected) == text


@given(MOMENTS)
def test_twelve_hour_clocks_and_month_names_round_trip(moment):
    """`hh`, `a` and month names read back what they write."""
    pattern = JavaPattern("dd MMMM yyyy hh:mm:ss a, Z")
    assert pattern.parse(pattern.format(moment)) == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-02 03:04:05+0600", "2024-01-02T03:04:05+06:00"),
        ("2024-01-02 03:04:05.678+0600", "2024-01-02T03:04:05.678+06:00"),
        ("2024-01-02 03:04:05.678", "2024-01-02T03:04:05.678Z"),
        ("2024-01-02T03:04:05.678Z", "2024-01-02T03:04:05.678Z"),
        ("2024-01-02T03:04:05.678+05", "2024-01-02T03:04:05.678+05:00"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        ("2024-01-02", "2024-01-02T00:00:00Z"),
        ("2024/01/02", "2024-01-02T00:00:00Z"),
        ("2024.01.02", "2024-01-02T00:00:00Z"),
        ("2024-Jan-02", "2024-01-02T00:00:00Z"),
        ("20240102", "2024-01-02T00:00:00Z"),
        ("01-02-2024", "2024-01-02T00:00:00Z"),
        ("12112020", "2020-12-11T00:00:00Z"),
        ("1/02/2024", "2024-01-02T00:00:00Z"),
        ("02.1.2024", "2024-01-02T00:00:00Z"),
        ("1/02/2024 03:04:05 PM", "2024-01-02T15:04:05Z"),
        ("02.1.2024 12:04:05 AM", "2024-01-02T00:04:05Z"),
        ("02.Jan.2024", "2024-01-02T00:00:00Z"),
        ("02-Jan-2024", "2024-01-02T00:00:00Z"),
    ],
)
def test_a_date_without_a_format_is_read_by_the_documented_list(text, expected):
    """Each documented format matches, and "12112020" is read as MMddyyyy (Data Prep: data handling)."""
    assert len(DEFAULT_FORMATS) == 18
    assert rfc3339(parse_default(text)) == expected
    assert rfc3339(value_of("date(a)", {"a": text})) == expected


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02T03:04:05+02:00",
        "2024-01-02T03:04:05.123456Z",
        "2024-01-02T03:04:05",
        "1700000000",
        "2024-02-30",
        "2024-01-02 ",
        "2024-1-2",
        "٢٠٢٤-٠١-٠٢",
        "",
    ],
)
def test_a_date_that_the_list_does_not_have_is_not_guessed(text):
    """An offset without a fraction, microseconds and epoch numbers are in no documented format."""
    with pytest.raises(DateError):
        parse_default(text)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("2024-01-02T03:04:05+02:00x", "yyyy-MM-dd'T'HH:mm:ssXXX"),
        ("2024-01-02T03:04:05+0200", "yyyy-MM-dd'T'HH:mm:ssXXX"),
        ("2024-01-02T03:04:05+19:00", "yyyy-MM-dd'T'HH:mm:ssXXX"),
        ("2024-01-02T03:04:05+02:60", "yyyy-MM-dd'T'HH:mm:ssXXX"),
        ("2024-01-02T24:00:00Z", "yyyy-MM-dd'T'HH:mm:ssXXX"),
        ("2024-01-02T03:04:60Z", "yyyy-MM-dd'T'HH:mm:ssXXX"),
        ("2024-01-02T03:04:05z", "yyyy-MM-dd'T'HH:mm:ssXXX"),
        ("0000-01-02", "yyyy-MM-dd"),
        ("13:00 AM 2024-01-02", "hh:mm a yyyy-MM-dd"),
        ("10:00 2024-01-02", "hh:mm yyyy-MM-dd"),
        ("10:00", "HH:mm"),
    ],
)
def test_a_text_that_is_not_wholly_its_patterns_date_is_refused(text, pattern):
    """Leftovers, other zone forms, hours and offsets out of range, and halves of dates are errors."""
    with pytest.raises(DateError):
        JavaPattern(pattern).parse(text)


@pytest.mark.parametrize(
    "pattern", ["'open", "ww", "yyyyy", "MMMMM", "HHH", "S" * 10, "yyyy yyyy", "[dd]", "X Z"]
)
def test_a_pattern_that_is_not_offered_is_refused(pattern):
    """Letters that would be read wrongly, and patterns that Java refuses, are errors."""
    with pytest.raises(DateError):
        JavaPattern(pattern)


def test_quotes_mark_literal_text():
    """Quoted letters are text, and two quotes are one, inside quotes and outside."""
    pattern = JavaPattern("yyyy-MM-dd 'o''clock' ''")
    assert pattern.parse("2024-01-02 o'clock '") == datetime(2024, 1, 2, tzinfo=UTC)
    assert pattern.format(NOW) == "2024-05-06 o'clock '"


def _local(moment):
    return moment.replace(tzinfo=None, microsecond=0).isoformat()


def _offset(moment):
    return "Z" if not moment.utcoffset() else moment.replace(tzinfo=moment.tzinfo).isoformat()[-6:]


def _written_offset(moment, zone):
    offset = _offset(moment)
    if zone == "XXX":
        return offset
    if offset == "Z":
        return "+0000" if zone == "Z" else "Z"
    joined = offset.replace(":", "")
    return joined[:3] if zone == "X" and joined.endswith("00") else joined
