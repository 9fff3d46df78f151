"""Observability Insights: the lake's view keeps every row, Profile's drops repeated ids and large events."""

from __future__ import annotations

from chatlio_kit.local_platform.catalog.observability import FAILED_BATCHES, KEPT, PATH, READ, RECORDS
from chatlio_kit.local_platform.profile import view

PEOPLE = {"sourceType": "ATTRIBUTE", "source": "people", "destination": "identityMap"}


def ask(api, name, dataset_id, **changed):
    """Ask for one metric of one dataset over a day."""
    metric = {"name": name, "filters": [{"name": "dataSetId", "value": dataset_id, "groupBy": True}]}
    body = {
        "start": "2020-01-01T00:00:00.000Z",
        "end": "2120-01-01T00:00:00.000Z",
        "granularity": "day",
        "metrics": [{**metric, "aggregator": "sum", "downsample": "sum"}],
        **changed,
    }
    return api.post(f"{api.platform.url}{PATH}", body)


def total(api, name, dataset_id):
    """Add a metric up over all its steps of time."""
    (response,) = ask(api, name, dataset_id).json()["metricResponses"]
    assert response["metric"] == name
    return sum(sum(point["dps"].values()) for point in response["datapoints"])


def test_the_lake_keeps_what_profile_drops(api, event, monkeypatch):
    """Repeated, oversized and nameless events are in the lake; Profile reads them, and keeps each id once."""

    def mia(number, **changed):
        return event(number, people={"Email": [{"id": "mia@example.org", "primary": True}]}, **changed)

    monkeypatch.setattr(view, "LARGEST_EVENT", 600)
    schema = api.new_schema()
    union = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
    assert api.call("PATCH", api.resource_url(schema), json=union).status_code == 200
    dataset_id = api.new_dataset(schema, tags={"unifiedProfile": ["enabled:true"]})
    flow = api.new_flow(schema, dataset_id, mappings=[PEOPLE])
    for count in (1, 2):
        api.send(flow, [mia(1), mia(2), mia(2), mia(3, note="x" * 900), event(4, at="never"), event(5)])
        api.wait_for_records(flow, 6 * count)
    assert total(api, RECORDS, dataset_id) == total(api, READ, dataset_id) == 10
    assert total(api, KEPT, dataset_id) == 2
    assert total(api, FAILED_BATCHES, dataset_id) == 2


def test_profile_has_no_data_from_other_datasets(api, event):
    """A dataset without the tag unifiedProfile is in the lake alone."""
    flow = api.new_flow()
    api.send(flow, [event(1), event(1)])
    api.wait_for_records(flow, 2)
    dataset_id = api.dataset_of(flow)
    assert (total(api, RECORDS, dataset_id), total(api, KEPT, dataset_id)) == (2, 0)


def test_invalid_queries_are_refused(api):
    """An unknown metric, a wrong time and a granularity without downsample are 400."""
    assert ask(api, "timeseries.nothing", "d").status_code == 400
    assert ask(api, RECORDS, "d", start="yesterday").status_code == 400
    assert ask(api, RECORDS, "d", granularity="second").status_code == 400
    assert ask(api, RECORDS, "d", metrics=[{"name": RECORDS}]).status_code == 400
