"""The Data Prep mapper: checks of mapping sets against a schema, and mapping of records."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.local_platform.data_prep.mappings import (
    InvalidMapping,
    Mapped,
    compile_mappings,
    validate_expression,
)

NOW = datetime(2024, 5, 6, 7, 8, 9, 987_654, tzinfo=UTC)
TRANSCRIPT_TIME = (
    'date(concat(substr(endedAt,0,19), iif(matches_regex(endedAt,".*Z"),"Z",right(endedAt,6))),'
    " \"yyyy-MM-dd'T'HH:mm:ssXXX\")"
)
TEXT = {"type": "string"}
TIME = {"type": "string", "format": "date-time"}
SCHEMA = {
    "type": "object",
    "properties": {
        "_id": TEXT,
        "timestamp": TIME,
        "eventType": TEXT,
        "identityMap": {
            "type": "object",
            "meta:xdmType": "map",
            "additionalProperties": {
                "type": "array",
                "items": {"type": "object", "properties": {"id": TEXT, "primary": {"type": "boolean"}}},
            },
        },
        "_acmechat": {
            "type": "object",
            "properties": {
                "text": TEXT,
                "day": {"type": "string", "format": "date"},
                "count": {"type": "integer"},
                "score": {"type": "number"},
                "open": {"type": "boolean"},
                "names": {"type": "array", "items": TEXT},
                "labels": {"type": "object", "meta:xdmType": "map", "additionalProperties": TEXT},
                "visitor": {
                    "type": "object",
                    "properties": {"email": TEXT, "age": {"type": "integer"}, "seen": TIME},
                },
                "messages": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"text": TEXT, "at": TIME, "from": TEXT}},
                },
            },
        },
    },
}


def attribute(source, destination):
    """A plain attribute mapping."""
    return {"sourceType": "ATTRIBUTE", "source": source, "destination": destination}


def expression(source, destination):
    """A calculated mapping."""
    return {"sourceType": "EXPRESSION", "source": source, "destination": destination}


def static(source, destination):
    """A literal mapping."""
    return {"sourceType": "STATIC", "source": source, "destination": destination}


def mapped(record, *mappings):
    """Map one record."""
    return compile_mappings(mappings, SCHEMA).apply(record, now=NOW)


def own(record, *mappings):
    """Map one record, which must go through without a problem, and give the tenant's fields of its row."""
    result = mapped(record, *mappings)
    assert (result.warnings, result.errors) == ((), ())
    return result.row.get("_acmechat", {})


def test_the_documented_mapping_set_maps_its_record():
    """The sample of attribute, expression and static mappings gives id, time, type and tenant field."""
    record = {"visitor": {"UUID": "u-1", "email": "v@example.com"}, "message": "Hi"}
    result = mapped(
        record,
        expression('sha256(concat(visitor.UUID, "|", message), "UTF-8")', "_id"),
        expression("now()", "timestamp"),
        static("chatlio.message", "eventType"),
        attribute("visitor.email", "_acmechat.visitor.email"),
    )
    assert result == Mapped(
        {
            "_id": hashlib.sha256(b"u-1|Hi").hexdigest(),
            "timestamp": "2024-05-06T07:08:09Z",
            "eventType": "chatlio.message",
            "_acmechat": {"visitor": {"email": "v@example.com"}},
        },
        (),
        (),
    )


def test_the_legacy_form_is_an_attribute_mapping():
    """`sourceAttribute` and `destinationXdmPath` are read, with or without the old source type."""
    legacy = {"sourceAttribute": "id", "destinationXdmPath": "_id", "identity": False, "version": 0}
    echoed = {**attribute("id", "_id"), **legacy, "sourceType": "text/x.schema-path"}
    assert mapped({"id": "x"}, legacy).row == mapped({"id": "x"}, echoed).row == {"_id": "x"}


@pytest.mark.parametrize(
    ("record", "row"),
    [
        ({}, {}),
        ({"a": None}, {}),
        ({"a": {}}, {}),
        ({"a": {"b": None}}, {}),
        ({"a": "text"}, {}),
        ({"a": {"b": ""}}, {"_id": ""}),
    ],
)
def test_a_plain_attribute_that_is_absent_or_null_is_left_out_quietly(record, row):
    """An absent path and an explicit null leave the key out of the row, with no warning."""
    assert mapped(record, attribute("a.b", "_id")) == Mapped(row, (), ())


def test_a_failing_expression_nulls_its_attribute_with_a_warning():
    """The row continues without the attribute, with a warning (Data Prep: troubleshooting guide)."""
    result = mapped({"id": "x", "n": None}, attribute("id", "_id"), expression("concat(id, n)", "eventType"))
    assert result.row == {"_id": "x"}
    assert result.errors == ()
    (warning,) = result.warnings
    assert (warning.destination, warning.source) == ("eventType", "concat(id, n)")
    assert warning.code == "MAPPER-3700-400"
    assert "expected a string, found NULL" in warning.message


def test_a_reference_to_a_missing_attribute_fails_the_record():
    """Inside an expression, an attribute that the record lacks is an error, not a warning."""
    result = mapped({"id": "x"}, attribute("id", "_id"), expression('concat(id, "|", other.id)', "eventType"))
    assert result.row == {"_id": "x"}
    assert result.warnings == ()
    (error,) = result.errors
    assert error.destination == "eventType"
    assert "attribute other.id does not exist in the record" in error.message


@pytest.mark.parametrize(
    ("destination", "value", "expected", "actual"),
    [
        ("_acmechat.text", {"a": 1}, "STRING", "OBJECT"),
        ("_acmechat.text", ["a"], "STRING", "ARRAY"),
        ("_acmechat.text", True, "STRING", "BOOLEAN"),
        ("_acmechat.count", True, "INTEGER", "BOOLEAN"),
        ("_acmechat.count", [1], "INTEGER", "ARRAY"),
        ("_acmechat.score", {}, "NUMBER", "OBJECT"),
        ("_acmechat.open", 1, "BOOLEAN", "LONG"),
        ("_acmechat.names", "a", "ARRAY", "STRING"),
        ("_acmechat.names", {"a": 1}, "ARRAY", "OBJECT"),
        ("_acmechat.visitor", "a", "OBJECT", "STRING"),
        ("_acmechat.labels", [], "MAP", "ARRAY"),
        ("timestamp", True, "DATE-TIME", "BOOLEAN"),
        ("timestamp", 1.5, "DATE-TIME", "DOUBLE"),
    ],
)
def test_a_type_without_a_conversion_fails_the_record(destination, value, expected, actual):
    """The error carries path, expected and actual type as the mapper's messages do."""
    result = mapped({"a": value}, attribute("a", destination))
    assert result.row == {}
    (error,) = result.errors
    assert error.code == "MAPPER-3700-400"
    assert (
        f"destination path {destination}., expected data type was: {expected}, "
        f"actual data type was: {actual}." in error.message
    )


def test_a_mismatch_deep_in_a_copied_array_names_its_path():
    """The path of the error leads to the element's field."""
    result = mapped({"m": [{"text": ["x"]}]}, attribute("m", "_acmechat.messages"))
    assert "destination path _acmechat.messages[*].text., expected" in result.errors[0].message


@pytest.mark.parametrize(
    ("destination", "value", "written"),
    [
        ("text", "a", "a"),
        ("text", 12, "12"),
        ("text", 1.5, "1.5"),
        ("count", 12, 12),
        ("count", "12", 12),
        ("count", "-012", -12),
        ("count", 2.0, 2),
        ("score", 1, 1),
        ("score", 1.5, 1.5),
        ("score", "1.5e3", 1500.0),
        ("open", True, True),
        ("names", ["a", 1], ["a", "1"]),
        ("labels", {"a": "x", "b": None, "c": 1}, {"a": "x", "c": "1"}),
        ("day", "2024/01/02", "2024-01-02"),
        ("day", "2024-01-02T03:04:05.678Z", "2024-01-02"),
    ],
)
def test_a_value_is_converted_to_the_type_of_its_field(destination, value, written):
    """Numbers become their JSON text, and texts the numbers and dates they spell."""
    result = own({"a": value}, attribute("a", f"_acmechat.{destination}"))
    assert result == {destination: written}
    assert type(result[destination]) is type(written)


@pytest.mark.parametrize("text", ["y", "yes", "Y", "YES", "on", "ON", "true", "TRUE"])
def test_the_documented_words_are_true(text):
    """Eight spellings are true (Data Prep: data handling, booleans)."""
    assert own({"a": text}, attribute("a", "_acmechat.open")) == {"open": True}


@pytest.mark.parametrize("text", ["n", "N", "no", "NO", "off", "OFF", "false", "FALSE"])
def test_the_documented_words_are_false(text):
    """Eight spellings are false (Data Prep: data handling, booleans)."""
    assert own({"a": text}, attribute("a", "_acmechat.open")) == {"open": False}


@pytest.mark.parametrize(
    ("destination", "value"),
    [
        ("_acmechat.open", "True"),
        ("_acmechat.open", ""),
        ("_acmechat.count", "1.5"),
        ("_acmechat.count", "12 "),
        ("_acmechat.count", "1_000"),
        ("_acmechat.count", "٣"),
        ("_acmechat.count", 1.5),
        ("_acmechat.score", "1,5"),
        ("_acmechat.score", "NaN"),
        ("_acmechat.score", "1e999"),
        ("_acmechat.score", "true"),
        ("_acmechat.day", "2024-02-30"),
        ("timestamp", "yesterday"),
        ("timestamp", ""),
        ("timestamp", "2024-02-30T00:00:00Z"),
        ("timestamp", "2024-01-01T00:00:00+02:00"),
        ("timestamp", "2024-01-01T00:00:00.123456Z"),
        ("timestamp", 10**30),
    ],
)
def test_an_unparsable_value_is_null_with_a_warning(destination, value):
    """An unparsable value is left out with a warning, and the record does not fail."""
    result = mapped({"a": value}, attribute("a", destination))
    assert (result.row, result.errors) == ({}, ())
    assert [warning.destination for warning in result.warnings] == [destination]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("2024-01-01T00:00:00.123Z", "2024-01-01T00:00:00.123Z"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("2024-01-31T23:59:59Z", "2024-01-31T23:59:59Z"),
        ("2024-01-01T00:00:00.123+02", "2024-01-01T00:00:00.123+02:00"),
        ("2024-01-01 00:00:00-0530", "2024-01-01T00:00:00-05:30"),
        ("2024-01-01", "2024-01-01T00:00:00Z"),
        (1714979289987, "2024-05-06T07:08:09.987Z"),
    ],
)
def test_a_plain_attribute_becomes_a_date_time_by_the_documented_formats(value, written):
    """A string in a default format, and milliseconds since 1970, become RFC 3339 with an offset."""
    assert mapped({"a": value}, attribute("a", "timestamp")).row == {"timestamp": written}


@pytest.mark.parametrize("fraction", ["", ".123", ".123456", ".123456789"])
@pytest.mark.parametrize("zone", ["Z", "+02:00", "-08:00", "+05:45"])
def test_a_live_transcript_gets_its_time_and_id(fraction, zone):
    """The live transcript mappings read `endedAt` in all its dialects, and hash its raw text."""
    ended = f"2024-03-09T18:20:11{fraction}{zone}"
    result = mapped(
        {"endedAt": ended, "conversationUUID": "c-1"},
        expression('sha256(concat("transcript|", conversationUUID, "|", endedAt), "UTF-8")', "_id"),
        expression(TRANSCRIPT_TIME, "timestamp"),
    )
    digest = hashlib.sha256(f"transcript|c-1|{ended}".encode()).hexdigest()
    assert result == Mapped({"_id": digest, "timestamp": f"2024-03-09T18:20:11{zone}"}, (), ())


@pytest.mark.parametrize("ended", ["", "soon", "2024-03-09", "2024-03-09T18:20:11", "2024-02-30T18:20:11Z"])
def test_a_transcript_with_an_invalid_time_gets_no_timestamp(ended):
    """The mapper warns and leaves the required field out; the row is then rejected by validation."""
    result = mapped({"endedAt": ended}, expression(TRANSCRIPT_TIME, "timestamp"))
    assert (result.row, result.errors, len(result.warnings)) == ({}, (), 1)


def test_a_date_value_has_milliseconds_only_when_it_has_a_fraction():
    """A fraction is written cut to milliseconds, a whole second without any."""
    fraction = expression("date(a, \"yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX\")", "timestamp")
    record = {"a": "2024-01-01T00:00:00.123999+02:00"}
    assert mapped(record, fraction).row == {"timestamp": "2024-01-01T00:00:00.123+02:00"}
    whole = {"a": "2024-01-01T00:00:00.000000Z"}
    assert mapped(whole, fraction).row == {"timestamp": "2024-01-01T00:00:00Z"}


def test_an_object_copies_the_children_that_the_schema_has():
    """Same-named children are copied recursively, others and nulls are dropped (Data Prep: mapping set)."""
    visitor = {"email": "v@example.com", "age": "41", "seen": None, "handle": "spain-12"}
    copied = own({"visitor": visitor}, attribute("visitor", "_acmechat.visitor"))
    assert copied == {"visitor": {"email": "v@example.com", "age": 41}}


def test_a_child_that_cannot_be_converted_is_null_with_its_own_warning():
    """A copied object loses the child alone, and the warning names the child's path."""
    result = mapped(
        {"visitor": {"email": "v@example.com", "age": "old"}}, attribute("visitor", "_acmechat.visitor")
    )
    assert result.row == {"_acmechat": {"visitor": {"email": "v@example.com"}}}
    assert [warning.destination for warning in result.warnings] == ["_acmechat.visitor.age"]


def test_an_array_of_objects_is_copied_element_by_element():
    """Each element keeps the children that the schema has, and the source is not changed."""
    source = [{"text": "Hi", "ts": "1.2", "at": "2024-01-01"}, {"from": "agent"}]
    before = [dict(each) for each in source]
    copied = own(
        {"m": source}, attribute("m", "_acmechat.messages"), static("x", "_acmechat.messages[1].text")
    )
    assert copied == {
        "messages": [{"text": "Hi", "at": "2024-01-01T00:00:00Z"}, {"from": "agent", "text": "x"}]
    }
    assert source == before


def test_wildcards_map_element_to_element():
    """`a.b[*].c` to `x[*].y` keeps positions, across several mappings and gaps."""
    record = {"chat": {"m": [{"t": "a"}, {"w": "ann"}, {"t": "c", "w": "bob"}]}}
    rows = own(
        record,
        attribute("chat.m[*].t", "_acmechat.messages[*].text"),
        attribute("chat.m[*].w", "_acmechat.messages[*].from"),
    )
    assert rows == {"messages": [{"text": "a"}, {"from": "ann"}, {"text": "c", "from": "bob"}]}
    assert own(record, attribute("chat.m[*].t", "_acmechat.names")) == {"names": ["a", "c"]}
    assert own(record, attribute("chat.m[*].t", "_acmechat.names[*]")) == {"names": ["a", "c"]}
    assert own({}, attribute("chat.m[*].t", "_acmechat.names[*]")) == {}


def test_indexes_read_and_write_one_element():
    """`a[1]` reads an element, and a destination `x[0]` writes one, under a map's key too."""
    record = {"a": ["x", "y"]}
    assert mapped(record, attribute("a[1]", "identityMap.Email[0].id")).row == {
        "identityMap": {"Email": [{"id": "y"}]}
    }
    assert mapped(record, attribute("a[7]", "_id")) == Mapped({}, (), ())


@pytest.mark.parametrize(
    ("mapping", "code"),
    [
        (expression("concat(", "_id"), "SYNTAX_ERROR"),
        (expression("visitor.format", "_id"), "SYNTAX_ERROR"),
        (expression("nvl(a, b)", "_id"), "UNKNOWN_FUNCTION"),
        (expression('contains_key("a")', "_id"), "UNKNOWN_FUNCTION"),
        (attribute("First Name", "_id"), "SYNTAX_ERROR"),
        (attribute("concat(a)", "_id"), "SYNTAX_ERROR"),
        (attribute("format", "_id"), "SYNTAX_ERROR"),
        (attribute("", "_id"), "SYNTAX_ERROR"),
        (attribute("a", "nowhere"), "UNKNOWN_DESTINATION"),
        (attribute("a", "_acmechat.nowhere"), "UNKNOWN_DESTINATION"),
        (attribute("a", "_id.more"), "UNKNOWN_DESTINATION"),
        (attribute("a", "_id[0]"), "UNKNOWN_DESTINATION"),
        (attribute("a", "_acmechat.messages.text"), "UNKNOWN_DESTINATION"),
        (attribute("a", ""), "INVALID_DESTINATION"),
        (attribute("a", "_acmechat..text"), "INVALID_DESTINATION"),
        (attribute("a", "_acmechat.text."), "INVALID_DESTINATION"),
        (attribute("a", "_acmechat.messages[*].text"), "INVALID_DESTINATION"),
        (expression("a", "_acmechat.messages[*].text"), "INVALID_DESTINATION"),
        ({**attribute("a", "_id"), "sourceType": "attribute"}, "INVALID_SOURCE_TYPE"),
        ({"source": "a", "destination": "_id"}, "INVALID_SOURCE_TYPE"),
        ({"sourceType": "ATTRIBUTE", "source": "a"}, "INCOMPLETE_MAPPING"),
        ({"sourceType": "STATIC", "source": 1, "destination": "_id"}, "INCOMPLETE_MAPPING"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(mapping, code):
    """A mapping is checked against grammar and schema before any record."""
    with pytest.raises(InvalidMapping) as caught:
        compile_mappings([mapping], SCHEMA)
    (problem,) = caught.value.problems
    assert (problem.code, problem.destination) == (code, mapping.get("destination", ""))
    assert problem.message


def test_every_bad_mapping_of_a_set_is_listed():
    """Compiling a set reports all of its bad mappings; a good one has no problem."""
    good = attribute("id", "_id")
    with pytest.raises(InvalidMapping, match="nvl") as caught:
        compile_mappings([expression("nvl(a)", "_id"), good, attribute("a", "nowhere")], SCHEMA)
    assert [problem.destination for problem in caught.value.problems] == ["_id", "nowhere"]
    assert compile_mappings([good], SCHEMA)


def test_an_expression_is_validated_by_itself():
    """A valid expression has no message; an invalid one has the position of the error."""
    assert validate_expression(TRANSCRIPT_TIME) is None
    assert "column 8" in (validate_expression("concat(,)") or "")


def test_a_wrapped_attribute_reads_a_reserved_or_odd_name():
    """`${}` reads a function's name, a blank and an escaped dot as field names."""
    record = {"date": "a", "First Name": "b", "x.y": "c"}
    sources = ("${date}", "${First Name}", "x\\.y", "${x\\.y}")
    rows = [mapped(record, attribute(source, "_id")).row for source in sources]
    assert rows == [{"_id": "a"}, {"_id": "b"}, {"_id": "c"}, {"_id": "c"}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("abtex"), children),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "email", "text", "at"]), JSON), st.data())
def test_any_record_ends_as_a_row_with_its_problems(record, data):
    """For any record, mapping raises nothing and writes no null."""
    destinations = [f"_acmechat.{name}" for name in SCHEMA["properties"]["_acmechat"]["properties"]]
    destination = data.draw(st.sampled_from([*destinations, "_id", "timestamp", "identityMap"]))
    result = mapped(record, attribute("a", destination), expression("concat(a, lower(a))", "eventType"))
    assert None not in result.row.values()
    assert None not in result.row.get("_acmechat", {}).values()
    assert bool(result.errors) or "a" in record
