"""The services as documented: paths, bodies, pages and forms of answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.aep.catalog import duration_of
from chatlio_kit.errors import Conflict, NotFound, PlatformError
from chatlio_kit.settings import Secret

REGISTRY = "/data/foundation/schemaregistry"


def test_titles_are_listed_by_value_cursor(stand: Any, platform: Platform) -> None:
    """A list continues from the last title seen until the cursor is null."""
    stand.will_answer({"results": [{"$id": "1", "title": "a"}], "_page": {"next": "a b&c", "count": 1}})
    stand.will_answer({"results": [{"$id": "2", "title": "z"}], "_page": {"next": None, "count": 1}})
    assert [each["title"] for each in platform.schemas.titles("schemas")] == ["a", "z"]
    first, second = stand.asked
    assert first.path == f"{REGISTRY}/tenant/schemas"
    assert first.query == {"orderby": ["title"], "limit": ["300"]}
    assert second.query["start"] == ["a b&c"]
    assert first.headers["Accept"] == "application/vnd.adobe.xed-id+json"


def test_an_unchanged_cursor_ends_the_list(stand: Any, platform: Platform) -> None:
    """A list with an unchanged cursor is not read forever."""
    for _ in range(2):
        stand.will_answer({"results": [{"title": "a"}], "_page": {"next": "a"}})
    assert len(list(platform.schemas.titles("schemas"))) == 2


def test_lookups_name_a_version_and_escape_the_id(stand: Any, platform: Platform) -> None:
    """A lookup asks for major version 1 and puts the URL-like id into one step of the path."""
    stand.will_answer({"title": "t"})
    assert platform.schemas.get("schemas", "https://ns.adobe.com/t/schemas/1") == {"title": "t"}
    (asked,) = stand.asked
    assert asked.path == f"{REGISTRY}/tenant/schemas/https%3A%2F%2Fns.adobe.com%2Ft%2Fschemas%2F1"
    assert asked.headers["Accept"] == "application/vnd.adobe.xed+json; version=1"


def test_a_field_group_is_added_by_patch(stand: Any, platform: Platform) -> None:
    """A schema gets a field group by one operation on its allOf."""
    stand.will_answer({"$id": "s"})
    platform.schemas.add_field_group("s", "https://ns.adobe.com/t/mixins/1")
    assert stand.asked[0].method == "PATCH"
    assert stand.asked[0].headers["Content-Type"] == "application/json"
    assert stand.asked[0].json() == [
        {"op": "add", "path": "/allOf/-", "value": {"$ref": "https://ns.adobe.com/t/mixins/1"}}
    ]


def test_a_title_in_use_is_a_conflict(stand: Any, platform: Platform) -> None:
    """Creating with a title in use raises Conflict, which names the title."""
    body = {"type": "http://ns.adobe.com/aep/errors/XDM-1521-400", "detail": "not unique", "status": 400}
    stand.will_answer(body, 400)
    with pytest.raises(Conflict, match="create the schema 'mine'"):
        platform.schemas.create("schemas", {"title": "mine"})


def test_a_dataset_is_made_with_its_source(stand: Any, platform: Platform) -> None:
    """The data source is requested too, and the id is extracted from its reference."""
    stand.will_answer(["@/dataSets/65aa00112233445566778899"], 201)
    assert platform.catalog.create_dataset({"name": "d"}) == "65aa00112233445566778899"
    assert stand.asked[0].path == "/data/foundation/catalog/dataSets"
    assert stand.asked[0].query == {"requestDataSource": ["true"]}


@pytest.mark.parametrize("answer", [[], {}, ["@/dataSets/a", "@/dataSets/b"], [7]])
def test_another_answer_names_no_dataset(stand: Any, platform: Platform, answer: object) -> None:
    """An answer to a create without a reference becomes an error message."""
    stand.will_answer(answer, 201)
    with pytest.raises(PlatformError, match="names no dataset"):
        platform.catalog.create_dataset({"name": "d"})


def test_catalog_answers_by_id(stand: Any, platform: Platform) -> None:
    """A read returns the object under the id; an answer without it is an error."""
    stand.will_answer({"d1": {"name": "d"}})
    assert platform.catalog.dataset("d1") == {"name": "d"}
    stand.will_answer({"d2": {"name": "d"}})
    with pytest.raises(PlatformError, match="does not contain d1"):
        platform.catalog.dataset("d1")


def test_datasets_are_found_over_all_pages(stand: Any, platform: Platform) -> None:
    """Pages of a hundred are read until one is not full; other names are left out."""
    stand.will_answer({f"d{at}": {"name": "mine" if at == 7 else "x"} for at in range(100)})
    stand.will_answer({"last": {"name": "mine"}, "hidden": {}})
    assert sorted(platform.catalog.datasets("mine")) == ["d7", "last"]
    assert [asked.query["start"] for asked in stand.asked] == [["0"], ["100"]]
    assert {asked.query["limit"][0] for asked in stand.asked} == {"100"}


def test_batches_are_listed_once_each(stand: Any, platform: Platform) -> None:
    """A batch that a newer one pushed to the next page is listed once."""
    page = {f"b{at}": {"status": "success", "created": at} for at in range(100)}
    stand.will_answer(page)
    moved = {
        "b99": page["b99"],
        "c": {
            "status": "FAILED",
            "created": 5,
            "tags": {"flowId": ["f1"], "acp_successor": ["s1"]},
            "metrics": {"invalidRecordCount": 2},
            "errors": [{"code": "DCVS-1101-400", "description": "no"}],
        },
    }
    stand.will_answer(moved)
    batches = list(platform.catalog.batches("d1", status="failed", created_after=5, created_before=9))
    assert len(batches) == 101
    last = batches[-1]
    assert (last.id, last.status, last.flow_id, last.successor_id) == ("c", "failed", "f1", "s1")
    assert last.metrics["invalidRecordCount"] == 2
    assert last.errors[0]["code"] == "DCVS-1101-400"
    query = stand.asked[0].query
    assert query["dataSet"] == ["d1"]
    assert query["status"] == ["failed"]
    assert query["createdAfter"] == ["5"]
    assert query["createdBefore"] == ["9"]
    assert query["orderBy"] == ["desc:created"]


@pytest.mark.parametrize(
    "answer",
    [
        [{"data": {"_id": "1"}, "errors": None}],
        {"data": {"_id": "1"}, "errors": None},
        {"data": {"_id": "1"}},
        {"_id": "1"},
    ],
)
def test_both_documented_previews_are_read(stand: Any, platform: Platform, answer: object) -> None:
    """A preview comes as an array, as one object, or as the data alone."""
    stand.will_answer(answer)
    made = platform.mapping_sets.preview([{"id": "1"}], {"mappings": []})
    assert made == [{"data": {"_id": "1"}, "errors": []}]
    assert stand.asked[0].json() == {"data": [{"id": "1"}], "mappingSet": {"mappings": []}}


def test_a_preview_of_fewer_records_is_refused(stand: Any, platform: Platform) -> None:
    """A preview that lacks a record is not accepted."""
    stand.will_answer([{"data": {}}])
    with pytest.raises(PlatformError, match="does not contain 2 records"):
        platform.mapping_sets.preview([{}, {}], {})


def test_mapping_sets_are_listed_with_both_mandatory_parameters(stand: Any, platform: Platform) -> None:
    """Limit and start are always sent, and only the wanted name is returned."""
    stand.will_answer({"data": [{"id": "1", "name": "a"}, {"id": "2", "name": "ab"}], "_page": {"count": 2}})
    assert [each["id"] for each in platform.mapping_sets.find("a")] == ["1"]
    assert stand.asked[0].query == {"limit": ["100"], "start": ["0"], "name": ["a"]}


def test_versions_come_as_number_or_text(stand: Any, platform: Platform) -> None:
    """The version of a mapping set is read in both of its forms."""
    stand.will_answer({"id": "1", "version": "3"})
    assert platform.mapping_sets.create({}) == ("1", 3)
    stand.will_answer({"id": "1", "version": 4})
    assert platform.mapping_sets.replace("1", {}) == 4


def test_flow_lists_follow_their_continuation(stand: Any, platform: Platform) -> None:
    """Filters are property parameters; the next page is requested by its token, on the same host."""
    link = "https://evil.example/flows?continuationToken=a%2Bb&limit=1"
    stand.will_answer({"items": [{"id": "1"}], "_links": {"next": {"href": link}}})
    stand.will_answer({"items": [{"id": "2"}], "_links": {}})
    flows = platform.flows.flows(["name==a,b", "state==enabled"])
    assert [each.id for each in flows] == ["1", "2"]
    assert stand.asked[0].query == {"property": ["name==a,b", "state==enabled"]}
    assert stand.asked[1].path == "/data/foundation/flowservice/flows"
    assert stand.asked[1].query == {"continuationToken": ["a+b"], "limit": ["1"]}


def test_a_link_that_leads_back_ends_the_list(stand: Any, platform: Platform) -> None:
    """A list with circular pages is not read forever."""
    for _ in range(2):
        stand.will_answer(
            {"items": [{"id": "1"}], "_links": {"next": {"href": "/flows?continuationToken=a"}}}
        )
    assert len(platform.flows.flows()) == 2


FLOW = {
    "id": "f1",
    "name": "n",
    "description": "d",
    "state": "enabled",
    "etag": '"e-1"',
    "createdAt": 1,
    "updatedAt": 2,
    "flowSpec": {"id": "spec"},
    "sourceConnectionIds": ["s1"],
    "targetConnectionIds": ["t1"],
    "options": {"inletUrl": "https://dcs.example/collection/feedbeef"},
    "transformations": [{"name": "Mapping", "params": {"mappingId": "m1", "mappingVersion": "2"}}],
}


def test_a_dataflow_is_read_whole_and_hides_its_inlet(stand: Any, platform: Platform) -> None:
    """A dataflow is a list of one; its inlet is a secret, and its mapping version may be a string."""
    stand.will_answer({"items": [FLOW]})
    flow = platform.flows.flow("f1")
    assert flow.is_ready
    assert flow.inlet_url == Secret("https://dcs.example/collection/feedbeef")
    assert (flow.mapping_set_id, flow.mapping_version) == ("m1", 2)
    assert (flow.source_ids, flow.target_ids, flow.updated_at) == (("s1",), ("t1",), 2)
    assert (flow.name, flow.description) == ("n", "d")
    assert "feedbeef" not in repr(flow)


def test_a_dataflow_without_inlet_is_not_ready(stand: Any, platform: Platform) -> None:
    """Enabled is not ready: the inlet has to exist too."""
    stand.will_answer({"items": [{**FLOW, "options": {}}]})
    assert not platform.flows.flow("f1").is_ready
    stand.will_answer({"items": [{**FLOW, "state": "enabling"}]})
    assert not platform.flows.flow("f1").is_ready


def test_changes_name_the_etag(stand: Any, platform: Platform) -> None:
    """A change sends the etag, quotes included, as If-Match; a stale one is a conflict."""
    stand.will_answer({"items": [FLOW]})
    flow = platform.flows.flow("f1")
    stand.will_answer({"id": "f1", "etag": '"e-2"'})
    platform.flows.update_flow(flow, [{"op": "replace", "path": "/name", "value": "x"}])
    assert stand.asked[1].headers["If-Match"] == '"e-1"'
    stand.will_answer({"type": "https://ns.adobe.com/aep/errors/FLOW-1404-412", "status": 412}, 412)
    with pytest.raises(Conflict):
        platform.flows.update_flow(flow, [])


def test_actions_go_without_a_body(stand: Any, platform: Platform) -> None:
    """Enabling and disabling are posted with the operation in the query and nothing else."""
    for _ in range(2):
        stand.will_answer({"id": "f1", "etag": "e"})
    platform.flows.enable_flow("f1")
    platform.flows.disable_flow("f1")
    assert [asked.query["op"] for asked in stand.asked] == [["enable"], ["disable"]]
    assert all(asked.body == b"" and "Content-Type" not in asked.headers for asked in stand.asked)


def test_endpoints_are_read_made_and_deleted(stand: Any, platform: Platform) -> None:
    """Source and target connections have their own paths."""
    stand.will_answer(
        {"items": [{"id": "s1", "connectionSpec": {"id": "spec"}, "params": {"dataSetId": "d"}}]}
    )
    found = platform.flows.endpoint("source", "s1")
    assert (found.connection_spec_id, found.params) == ("spec", {"dataSetId": "d"})
    stand.will_answer({"id": "t1", "etag": "e"}, 201)
    assert platform.flows.create_endpoint("target", {"name": "t"}) == "t1"
    stand.will_answer(b"", 204)
    platform.flows.delete_endpoint("target", "t1")
    assert [asked.path.rpartition("/flowservice")[2] for asked in stand.asked] == [
        "/sourceConnections/s1",
        "/targetConnections",
        "/targetConnections/t1",
    ]


def test_runs_count_what_failed_under_success(stand: Any, platform: Platform) -> None:
    """A run's counts and errors are read, those of its activities too, in every spelling."""
    run = {
        "id": "r1",
        "flowId": "f1",
        "metrics": {
            "durationSummary": {"startedAtUTC": 1000, "completedAtUTC": 2000},
            "recordSummary": {"inputRecordCount": 12, "outputRecordCount": 11, "failedRecordCount": 1},
            "statusSummary": {
                "status": "Success",
                "errors": [{"code": "CONNECTOR-2001-500", "message": "m"}],
            },
        },
        "activites": [
            {
                "statusSummary": {
                    "extensions": {
                        "errors": [{"code": "MAPPER-3700-400", "recordCount": 1, "message": "Transform"}]
                    }
                }
            }
        ],
    }
    stand.will_answer({"items": [run], "_links": {}})
    found = platform.flows.runs("f1", started_after=5)[0]
    assert (found.status, found.received, found.ingested, found.failed, found.warned) == (
        "success",
        12,
        11,
        1,
        0,
    )
    assert [(each.code, each.message, each.records) for each in found.errors] == [
        ("CONNECTOR-2001-500", "m", None),
        ("MAPPER-3700-400", "Transform", 1),
    ]
    assert stand.asked[0].query == {
        "property": ["flowId==f1", "metrics.durationSummary.startedAtUTC>5"],
        "orderby": ["-createdAt"],
    }


def test_files_are_listed_in_two_steps_and_downloaded(stand: Any, platform: Platform) -> None:
    """A batch names its files, a file names its parts, and a part is downloaded from our host alone."""
    stand.will_answer({"data": [{"dataSetFileId": "file-1"}, {"dataSetFileId": "file-2"}]})
    part = {
        "name": "p.parquet",
        "length": "4",
        "_links": {"self": {"href": "https://evil.example/x?path=a%2Fp.parquet"}},
    }
    markers = [("_SUCCESS", "0"), ("_committed_1", "9"), ("empty.parquet", "0")]
    stand.will_answer({"data": [part, *({"name": name, "length": length} for name, length in markers)]})
    stand.will_answer({"data": [{"name": "q.parquet", "length": "5"}]})
    files = platform.data_access.files("b1")
    assert [(file.name, file.size) for file in files] == [("p.parquet", 4), ("q.parquet", 5)]
    stand.will_answer(b"PAR1")
    assert platform.data_access.download(files[0]) == b"PAR1"
    asked = stand.asked[3]
    assert asked.path == "/data/foundation/export/files/file-1"
    assert asked.query == {"path": ["a/p.parquet"]}


def test_a_part_is_saved_in_ranges_or_as_the_server_sends_it(
    stand: Any, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges are requested until the file is complete; a server that ignores ranges sends the whole file."""
    monkeypatch.setattr("chatlio_kit.aep.data_access._RANGE", 3)
    part = {"name": "p.parquet", "length": 7}
    stand.will_answer({"data": [{"dataSetFileId": "file-1"}]})
    stand.will_answer({"data": [part]})
    (file,) = platform.data_access.files("b1")
    for content, status in [(b"PAR", 206), (b"1PA", 206), (b"R", 206), (b"PAR1PAR", 200), (b"", 206)]:
        stand.will_answer(content, status)
    whole, at_once, ended = BytesIO(), BytesIO(), BytesIO()
    platform.data_access.save(file, whole)
    assert whole.getvalue() == b"PAR1PAR"
    ranges = [asked.headers["Range"] for asked in stand.asked[2:]]
    assert ranges == ["bytes=0-2", "bytes=3-5", "bytes=6-6"]
    platform.data_access.save(file, at_once)
    assert at_once.getvalue() == b"PAR1PAR"
    platform.data_access.save(file, ended)
    assert ended.getvalue() == b""


def test_records_are_counted_by_dataset(stand: Any, platform: Platform) -> None:
    """The filter groups by dataset, and every point counts, as a string or a number."""
    points = [{"dps": {"1": 2.0, "2": "3"}}, {"dps": None}]
    stand.will_answer({"metricResponses": [{"datapoints": points}, {"datapoints": [{"dps": {"1": 1}}]}]})
    assert platform.observability.total("timeseries.x", "dataset-1") == 6
    (metric,) = stand.asked[0].json()["metrics"]
    assert metric == {
        "name": "timeseries.x",
        "filters": [{"name": "dataSetId", "value": "dataset-1", "groupBy": True}],
        "aggregator": "sum",
        "downsample": "sum",
    }


def test_the_platforms_time_is_taken_from_its_responses(stand: Any, platform: Platform) -> None:
    """Before the first answer, it is this machine's time, and the difference is unknown."""
    assert platform.clock_skew is None
    assert not platform.tells_time
    assert abs(platform.now() - datetime.now(UTC)) < timedelta(minutes=1)
    stand.will_answer([])
    assert platform.namespaces.all() == []
    assert platform.tells_time
    assert abs(platform.clock_skew or 99) < 60


def test_a_connection_without_its_list_is_unexpected(stand: Any, platform: Platform) -> None:
    """One object is in a list; an answer without the list does not mean absence."""
    stand.will_answer({"id": "c1"})
    with pytest.raises(PlatformError, match="contains no items"):
        platform.flows.flow("c1")


def test_an_unknown_batch_is_not_found(stand: Any, platform: Platform) -> None:
    """A missing batch is an error; a batch without failures is not."""
    stand.will_answer({"status": 404, "title": "Not found"}, 404)
    with pytest.raises(NotFound):
        platform.data_access.files("b1")
    stand.will_answer({"status": 404, "title": "Not found"}, 404)
    assert platform.data_access.failed_files("b1") == []


def test_failed_rows_are_unpacked(stand: Any, platform: Platform) -> None:
    """Rows of failed streaming batches hold JSON in strings, which is parsed."""
    stand.will_answer({"data": [{"name": "part.json", "length": "9"}]})
    stand.will_answer(
        b'{"body": "{\\"a\\": 1}", "_errors": "[]", "note": "{not json"}\n\n{"_errors": "[]"}\n'
    )
    rows = list(platform.data_access.failed_rows("b1"))
    assert rows == [{"body": {"a": 1}, "_errors": [], "note": "{not json"}, {"_errors": []}]


def test_a_broken_error_file_is_reported(stand: Any, platform: Platform) -> None:
    """A line that is not JSON is not skipped."""
    stand.will_answer({"data": [{"name": "part.json", "length": "9"}]})
    stand.will_answer(b"{broken\n")
    with pytest.raises(PlatformError, match="is not JSON"):
        list(platform.data_access.failed_rows("b1"))


def test_the_type_of_a_sandbox_on_a_later_page_is_found(stand: Any, platform: Platform) -> None:
    """A page holds fifty; the next one begins after them."""
    stand.will_answer({"sandboxes": [{"name": f"s{number}", "type": "development"} for number in range(50)]})
    stand.will_answer({"sandboxes": [{"name": "live", "type": "production"}]})
    assert platform.sandboxes.type_of("live") == "production"
    assert [asked.query["offset"] for asked in stand.asked] == [["0"], ["50"]]


def test_an_answer_of_another_form_is_unexpected(stand: Any, platform: Platform) -> None:
    """It means neither that there are no sandboxes or namespaces, nor that a deletion was ordered."""
    stand.will_answer({"sandboxes": None})
    with pytest.raises(PlatformError, match="contains no sandboxes"):
        platform.sandboxes.type_of("live")
    stand.will_answer({"code": "Email"})
    with pytest.raises(PlatformError, match="is not a list"):
        platform.namespaces.all()
    stand.will_answer({"status": "received"})
    with pytest.raises(PlatformError, match="has no 'workorderId'"):
        platform.work_orders.delete_identities("dataset-1", {"Email": ["ana@x.org"]}, "list 1")


def test_a_schema_joins_its_union_and_namespaces_are_listed(stand: Any, platform: Platform) -> None:
    """Both calls return the platform's answer."""
    stand.will_answer({"$id": "https://ns/s", "meta:immutableTags": ["union"]})
    assert platform.schemas.enable_for_profile("https://ns/s")["meta:immutableTags"] == ["union"]
    assert stand.asked[0].json() == [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
    stand.will_answer([{"code": "Email"}, "no object"])
    assert platform.namespaces.all() == [{"code": "Email"}]


@pytest.mark.parametrize(
    ("text", "days"), [("P1Y2M3D", 428), ("P30D", 30), ("P2M", 60), ("P10Y", 3650), ("P", None), (None, None)]
)
def test_an_expiry_in_days(text: str | None, days: int | None) -> None:
    """A month counts 30 days and a year 365."""
    assert duration_of(text) == (None if days is None else timedelta(days=days))
