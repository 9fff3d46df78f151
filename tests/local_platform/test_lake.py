"""The second stage: landed rows, failures with reasons, and reading both back."""

from __future__ import annotations

import io
import time
from datetime import UTC, datetime

import pyarrow.parquet as pq

from chatlio_kit.local_platform import running


def test_rows_land_with_their_types(api, event):
    """A batch's Parquet file has the schema's columns: nested structs, and times in UTC milliseconds."""
    flow = api.new_flow()
    api.send(flow, [event(1, at="2024-03-01T10:15:30.123Z")])
    api.wait_for_records(flow, 1)
    (batch_id,) = api.batches(flow, "success")
    table = pq.read_table(io.BytesIO(api.download(batch_id)))
    (row,) = table.to_pylist()
    assert row["_id"] == "e1"
    assert row["timestamp"] == datetime(2024, 3, 1, 10, 15, 30, 123_000, UTC)
    assert row["eventType"] == "shop.visit"
    assert row["_acmechat"] == {"note": "hello", "count": 1, "seenAt": None}
    assert str(table.schema.field("timestamp").type) == "timestamp[ms, tz=UTC]"


def test_every_batch_of_a_dataset_has_the_same_columns(api, event):
    """Columns come from the schema, not from the rows that happen to be in a batch."""
    flow = api.new_flow()
    api.send(flow, [event(1)])
    api.wait_for_records(flow, 1)
    api.send(flow, [event(2, note=None)])
    api.wait_for_records(flow, 2)
    batches = api.batches(flow, "success")
    first, second = (pq.read_schema(io.BytesIO(api.download(key))) for key in batches)
    assert len(batches) == 2
    assert first.equals(second)


def test_only_the_row_that_breaks_the_schema_fails(api, event):
    """A bad row goes to a failed batch with its violations; the rows around it land."""
    flow = api.new_flow()
    api.send(flow, [event(1), event(2, at="yesterday"), event(3, note="x" * 2000), event(4)])
    records = api.wait_for_records(flow, 4)
    assert (records["inputRecordCount"], records["outputRecordCount"]) == (4, 2)
    assert records["failedRecordCount"] == 2
    (batch_id, batch), *rest = api.batches(flow, "failed").items()
    assert rest == []
    assert batch["tags"]["flowId"] == [flow["id"]]
    assert batch["relatedObjects"] == [{"type": "dataSet", "id": api.dataset_of(flow)}]
    assert batch["metrics"]["invalidRecordCount"] == 2
    assert all(set(each) == {"code", "description"} for each in batch["errors"])
    failed = api.failed_messages(batch_id)
    assert [each["body"]["id"] for each in failed] == ["e2", "e3"]
    assert all(each["header"]["flowId"] == flow["id"] for each in failed)
    assert failed[1]["_errors"]["_validationErrors"][0]["pointerToViolation"] == "#/_acmechat/note"


def test_a_row_without_its_required_members_is_rejected(api, event):
    """An event without ``_id`` is a required key that is not found, DCVS-1106."""
    flow = api.new_flow()
    api.send(flow, [event(1, id=None)])
    assert api.wait_for_records(flow, 1)["failedRecordCount"] == 1
    (batch,) = api.batches(flow, "failed").values()
    assert batch["status"] == "failed"
    assert batch["errors"]


def test_a_run_counts_its_hour(api, event):
    """One run per hour window; with failures it may be a success that lists errors."""
    flow = api.new_flow()
    api.send(flow, [event(number) for number in range(10)])
    api.send(flow, [event(10, note=5.5), event(11, at="never")])
    api.wait_for_records(flow, 12)
    query = {"property": f"flowId=={flow['id']}", "orderby": "-createdAt"}
    (run,) = api.get(f"{api.flow_service}/runs", params=query).json()["items"]
    window = run["metrics"]["durationSummary"]
    assert window["startedAtUTC"] % 3_600_000 == 0
    assert window["startedAtUTC"] <= window["completedAtUTC"]
    assert run["metrics"]["statusSummary"]["status"] == "success"
    assert run["metrics"]["recordSummary"]["failedRecordCount"] >= 1
    listed = run["activities"][0]["statusSummary"]["extensions"]["errors"]
    codes = {each["code"] for each in run["metrics"]["statusSummary"]["errors"]}
    assert codes == {each["code"] for each in listed}
    assert sum(each["recordCount"] for each in listed) >= run["metrics"]["recordSummary"]["failedRecordCount"]
    assert api.get(f"{api.flow_service}/runs/{run['id']}").json()["items"] == [run]


def test_one_run_of_failures_only_has_failed(api, event):
    """A window in which nothing landed has the status failed."""
    flow = api.new_flow()
    api.send(flow, [event(1, at="never")])
    api.wait_for_records(flow, 1)
    (run,) = api.get(f"{api.flow_service}/runs", params={"property": f"flowId=={flow['id']}"}).json()["items"]
    assert run["metrics"]["statusSummary"]["status"] == "failed"


def test_parts_of_a_file_can_be_asked_for(api, event):
    """Downloads honour Range with 206, and lengths in lists are text."""
    flow = api.new_flow()
    api.send(flow, [event(1)])
    api.wait_for_records(flow, 1)
    (batch_id,) = api.batches(flow, "success")
    whole = api.download(batch_id)
    (file,) = api.get(f"{api.export}/batches/{batch_id}/files").json()["data"]
    (part,) = api.get(f"{api.export}/files/{file['dataSetFileId']}").json()["data"]
    assert part["length"] == str(len(whole))
    ranged = api.get(part["_links"]["self"]["href"], headers={"Range": "bytes=0-3"})
    assert (ranged.status_code, ranged.content) == (206, b"PAR1")


def test_failed_files_are_listed_next_to_their_marker(api, event):
    """The list of a failed batch begins with an empty ``_SUCCESS``; diagnostics say why each row failed."""
    flow = api.new_flow()
    api.send(flow, [event(1, at="never")])
    api.wait_for_records(flow, 1)
    (batch_id,) = api.batches(flow, "failed")
    listed = api.get(f"{api.export}/batches/{batch_id}/failed").json()
    assert listed["_page"] == {"limit": 100, "count": 2}
    marker = listed["data"][0]
    assert (marker["name"], marker["length"]) == ("_SUCCESS", "0")
    assert api.get(marker["_links"]["self"]["href"]).content == b""
    meta = f"{api.export}/batches/{batch_id}/meta"
    (entry,) = api.get(meta, params={"path": "row_errors"}).json()["data"]
    (row,) = api.get(entry["_links"]["self"]["href"]).text.splitlines()
    assert '"_corrupt_record"' in row
    assert '"_errors"' in row
    assert api.get(f"{api.export}/batches/{batch_id}/files").json()["data"] == []


def test_a_preview_shows_rows_as_they_were_sent(api, event):
    """The preview of a dataset is its first hundred rows."""
    flow = api.new_flow()
    api.send(flow, [event(number) for number in range(120)])
    api.wait_for_records(flow, 120)
    rows = api.get(f"{api.export}/datasets/{api.dataset_of(flow)}/preview").json()["data"]
    assert len(rows) == 100
    assert rows[7]["timestamp"] == "2024-03-01T10:15:30.000Z"
    assert rows[7]["_acmechat"] == {"note": "hello", "count": 7}


def test_batches_are_listed_by_dataset_status_and_time(api, event):
    """Batch lists are objects by id, newest first, with an exclusive lower bound in time."""
    flow = api.new_flow()
    for number in range(3):
        api.send(flow, [event(number)])
        api.wait_for_records(flow, number + 1)
        time.sleep(0.01)
    batches = api.batches(flow, "success")
    created = [each["created"] for each in batches.values()]
    assert created == sorted(created, reverse=True)
    query = {"dataSet": api.dataset_of(flow), "createdAfter": str(created[-1]), "orderBy": "asc:created"}
    later = api.get(f"{api.catalog}/batches", params=query).json()
    assert list(later) == list(batches)[1::-1]
    assert api.get(f"{api.catalog}/batches/{next(iter(later))}").json() == {
        key: value for key, value in later.items() if key == next(iter(later))
    }
    assert api.batches(flow, "failed") == {}


def test_messages_gather_into_few_batches(tmp_path, connect, event):
    """Within the processing delay a trickle becomes one batch."""
    with running(tmp_path / "store", enabling_delay=0, processing_delay=0.5) as platform:
        api = connect(platform)
        flow = api.new_flow()
        for number in range(10):
            api.send(flow, [event(number)])
        api.wait_for_records(flow, 10)
        assert len(api.batches(flow, "success")) == 1


def test_a_deleted_dataflow_still_lands_accepted_records(tmp_path, connect, event):
    """Messages acknowledged before a dataflow is deleted are not lost."""
    with running(tmp_path / "store", enabling_delay=0, processing_delay=0.3) as platform:
        api = connect(platform)
        flow = api.new_flow()
        dataset_id = api.dataset_of(flow)
        api.send(flow, [event(1)])
        assert api.call("DELETE", f"{api.flow_service}/flows/{flow['id']}").status_code == 204
        api.wait_for_records(flow, 1)
        rows = api.get(f"{api.export}/datasets/{dataset_id}/preview").json()["data"]
    assert [row["_id"] for row in rows] == ["e1"]


def test_a_changed_schema_changes_the_columns_from_then_on(api, event):
    """A field added to the field group is a column of the next batch."""
    schema = api.new_schema()
    flow = api.new_flow(schema)
    api.send(flow, [event(1)])
    api.wait_for_records(flow, 1)
    patch = [
        {
            "op": "add",
            "path": "/definitions/customFields/properties/_acmechat/properties/more",
            "value": {"type": "string"},
        }
    ]
    group = {"$id": schema["refs"][1]}
    assert api.call("PATCH", api.resource_url(group, "fieldgroups"), json=patch).status_code == 200
    api.send(flow, [event(2)])
    api.wait_for_records(flow, 2)
    newest, _ = api.batches(flow, "success")
    columns = pq.read_schema(io.BytesIO(api.download(newest))).field("_acmechat").type
    assert columns.get_field_index("more") >= 0
