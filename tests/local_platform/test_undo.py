"""Landed rows can disappear: a batch is reverted, a dataset deleted, a file lost; then no call shows them."""

from __future__ import annotations

import pytest


@pytest.fixture
def landed(api, event):
    """A dataflow with one row, and the batch that holds it."""
    flow = api.new_flow()
    api.send(flow, [event(1)])
    api.wait_for_records(flow, 1)
    (batch_id,) = api.batches(flow, "success")
    return flow, batch_id


def test_a_reverted_batch_is_inactive_and_has_no_files(api, landed):
    """``action=REVERT`` answers 200 with an empty body; reverting once more is 428."""
    flow, batch_id = landed
    response = api.post(f"{api.ingest}/batches/{batch_id}?action=REVERT", None)
    assert (response.status_code, response.content) == (200, b"")
    assert list(api.batches(flow, "inactive")) == [batch_id]
    assert api.get(f"{api.export}/batches/{batch_id}/files").json()["data"] == []
    assert api.get(f"{api.export}/files/{batch_id}-1?path=part-00000.parquet").status_code == 404
    again = api.post(f"{api.ingest}/batches/{batch_id}?action=REVERT", None)
    assert (again.status_code, again.json()["title"]) == (428, "ERR-BI-104")


def test_an_impossible_revert_is_refused(api, landed):
    """An unknown batch is 404, another action 400; the batch stays as it was."""
    flow, batch_id = landed
    assert api.post(f"{api.ingest}/batches/none?action=REVERT", None).status_code == 404
    assert api.post(f"{api.ingest}/batches/{batch_id}?action=NONE", None).status_code == 400
    assert list(api.batches(flow, "success")) == [batch_id]


def test_deleting_a_dataset_deletes_its_rows(api, landed):
    """Its batches stay readable as ``inactive``, and their files are gone."""
    flow, batch_id = landed
    dataset_id = api.dataset_of(flow)
    assert api.call("DELETE", f"{api.flow_service}/flows/{flow['id']}").status_code < 300
    target = f"{api.flow_service}/targetConnections/{flow['targetConnectionIds'][0]}"
    assert api.call("DELETE", target).status_code < 300
    deleted = api.call("DELETE", f"{api.catalog}/dataSets/{dataset_id}")
    assert deleted.json() == [f"@/dataSets/{dataset_id}"]
    assert api.get(f"{api.catalog}/batches/{batch_id}").json()[batch_id]["status"] == "inactive"
    assert api.get(f"{api.export}/batches/{batch_id}/files").json()["data"] == []


def test_a_lost_file_is_not_found(api, landed, tmp_path):
    """A batch whose file is gone from the disk is answered with 404, not with a failure of the server."""
    _, batch_id = landed
    (tmp_path / "store" / "lake" / f"{batch_id}.parquet").unlink()
    assert api.get(f"{api.export}/files/{batch_id}-1").status_code == 404
    assert api.get(f"{api.export}/files/{batch_id}-1?path=part-00000.parquet").status_code == 404
