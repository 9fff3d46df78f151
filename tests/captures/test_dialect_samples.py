"""Every dialect in the table: a sample in the format that its source documents, and the expected result."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from chatlio_kit.captures.dialects import DIALECTS, LOGGERS, recognise
from chatlio_kit.tables import Export, ReadOptions, Tables

Payload = dict[str, Any]


@dataclass
class Hook:
    """A webhook as it arrives: its payload, its kind, and its time in UTC to the millisecond."""

    payload: Payload
    kind: str
    moment: datetime

    @property
    def text(self) -> str:
        """Its JSON."""
        return json.dumps(self.payload, ensure_ascii=False)

    @property
    def base64(self) -> str:
        """Its JSON in base64."""
        return base64.b64encode(self.text.encode()).decode()

    @property
    def iso(self) -> str:
        """The time in RFC 3339."""
        return self.moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    @property
    def millis(self) -> int:
        """The time in milliseconds since 1970."""
        return round(self.moment.timestamp() * 1000)

    @property
    def path(self) -> str:
        """The path it was posted to."""
        return f"/hooks/{self.kind.replace('_', '-')}"


def _columns(payload: Payload, separator: str, before: str = "") -> dict[str, Any]:
    """Flatten objects as Zapier and json_normalize do."""
    flat: dict[str, Any] = {}
    for key, value in payload.items():
        if isinstance(value, dict):
            flat |= _columns(value, separator, f"{before}{key}{separator}")
        else:
            flat[before + key] = value
    return flat


def bare(hook: Hook) -> dict[str, Any]:
    """The payload."""
    return hook.payload


def envelope(hook: Hook) -> dict[str, Any]:
    """Our capture envelope."""
    return {"receivedAt": hook.iso, "kind": hook.kind, "widget": "w-1", "payload": hook.payload}


def webhook_site(hook: Hook) -> dict[str, Any]:
    """docs.webhook.site/api/examples: a request in the answer to GET /token/:id/requests."""
    return {
        "uuid": "70174177-a447-4dd5-a569-ddd26b7e90ec",
        "type": "web",
        "token_id": "00000000-0000-0000-0000-000000000000",
        "team_id": None,
        "ip": "192.0.2.1",
        "hostname": "webhook.site",
        "method": "POST",
        "user_agent": "Go-http-client/1.1",
        "content": hook.text,
        "query": None,
        "headers": {"content-type": ["application/json"]},
        "url": f"https://webhook.site/00000000-0000-0000-0000-000000000000{hook.path}",
        "size": len(hook.text),
        "files": [],
        "created_at": hook.moment.strftime("%Y-%m-%d %H:%M:%S"),
        "updated_at": hook.moment.strftime("%Y-%m-%d %H:%M:%S"),
        "sorting": hook.millis * 1000,
        "custom_action_output": [],
        "custom_action_errors": [],
        "time": 0.001,
    }


def webhook_tester(hook: Hook) -> dict[str, Any]:
    """webhook-tester, openapi.yml: CapturedRequest."""
    return {
        "uuid": "9b6bbab9-c197-4dd3-bc3f-3cb6253820c7",
        "client_address": "192.0.2.1",
        "method": "POST",
        "request_payload_base64": hook.base64,
        "headers": [{"name": "Content-Type", "value": "application/json"}],
        "url": f"https://hooks.example/00000000-0000-0000-0000-000000000000{hook.path}",
        "captured_at_unix_milli": hook.millis,
    }


def ngrok(hook: Hook) -> dict[str, Any]:
    """The ngrok agent API: an item of /api/requests/http."""
    head = f"POST {hook.path} HTTP/1.1\r\nHost: x.ngrok.app\r\nContent-Type: application/json\r\n\r\n"
    raw = base64.b64encode(head.encode() + hook.text.encode()).decode()
    return {
        "uri": "/api/requests/http/548fb5c700000002",
        "id": "548fb5c700000002",
        "tunnel_name": "command_line",
        "remote_addr": "192.0.2.1",
        "start": hook.iso.replace("Z", "+00:00"),
        "duration": 3893202,
        "request": {
            "method": "POST",
            "proto": "HTTP/1.1",
            "headers": {"Content-Type": ["application/json"]},
            "uri": hook.path,
            "raw": raw,
        },
        "response": {"status": "200 OK", "status_code": 200, "proto": "HTTP/1.1", "headers": {}, "raw": ""},
    }


def requestbin(hook: Hook) -> dict[str, Any]:
    """RequestBin's models.py: what Request.to_dict gives."""
    return {
        "id": "1f3a5c",
        "time": hook.millis / 1000,
        "remote_addr": "192.0.2.1",
        "method": "POST",
        "headers": {"Content-Type": "application/json"},
        "query_string": {},
        "raw": f"POST /1abc2def HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{hook.text}",
        "form_data": [],
        "body": hook.text,
        "path": "/1abc2def",
        "content_length": len(hook.text),
        "content_type": "application/json",
    }


def beeceptor(hook: Hook) -> dict[str, Any]:
    """Beeceptor's request history: an item of its list, with mode=full."""
    return {
        "id": "51hfkabcedo",
        "date": hook.iso,
        "timeTaken": 2,
        "status": 200,
        "method": "POST",
        "path": hook.path,
        "rule": False,
        "req": {"b": hook.text, "h": {"content-type": "application/json"}},
        "res": {"b": "ok", "h": {}},
    }


def _hookdeck_data(hook: Hook) -> dict[str, Any]:
    return {
        "body": hook.payload,
        "headers": {"content-type": "application/json"},
        "parsed_query": {},
        "path": hook.path,
        "query": "",
        "is_large_payload": False,
    }


def hookdeck_request(hook: Hook) -> dict[str, Any]:
    """Hookdeck API: a request with its data."""
    return {
        "id": "req_1",
        "team_id": "tm_1",
        "verified": True,
        "rejection_cause": None,
        "ingested_at": hook.iso,
        "source_id": "src_1",
        "events_count": 1,
        "created_at": "2001-01-01T00:00:00.000Z",
        "updated_at": "2001-01-01T00:00:00.000Z",
        "data": _hookdeck_data(hook),
    }


def hookdeck_event(hook: Hook) -> dict[str, Any]:
    """Hookdeck API: an event with its data."""
    return {
        "id": "evt_1",
        "team_id": "tm_1",
        "webhook_id": "web_1",
        "source_id": "src_1",
        "destination_id": "des_1",
        "event_data_id": "edt_1",
        "request_id": "req_1",
        "attempts": 1,
        "status": "SUCCESSFUL",
        "successful_at": "2001-01-01T00:00:00.000Z",
        "created_at": hook.iso,
        "updated_at": "2001-01-01T00:00:00.000Z",
        "data": _hookdeck_data(hook),
    }


def pipedream(hook: Hook) -> dict[str, Any]:
    """Pipedream: the event of an HTTP trigger."""
    return {
        "method": "POST",
        "path": hook.path,
        "query": {},
        "client_ip": "192.0.2.1",
        "url": f"https://x.m.pipedream.net{hook.path}",
        "headers": {"content-type": "application/json"},
        "bodyRaw": hook.text,
        "body": hook.payload,
    }


def n8n(hook: Hook) -> dict[str, Any]:
    """n8n: an item that a Webhook node gives."""
    return {
        "headers": {"content-type": "application/json"},
        "params": {},
        "query": {},
        "body": hook.payload,
        "webhookUrl": f"https://n8n.example/webhook{hook.path}",
        "executionMode": "production",
    }


def zapier(hook: Hook) -> dict[str, Any]:
    """Zapier: nested keys joined by two underscores; of a list, each key's values with commas between."""
    flat = {}
    for key, value in _columns(hook.payload, "__").items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            flat |= {f"{key}__{part}": ",".join(str(entry[part]) for entry in value) for part in value[0]}
        else:
            flat[key] = ",".join(value) if isinstance(value, list) else value
    return {"receivedAt": hook.iso, "kind": hook.kind, "widget": "w-1", **flat}


def dotted_columns(hook: Hook) -> dict[str, Any]:
    """pandas.json_normalize: nested keys joined by a dot."""
    return {"receivedAt": hook.iso, "kind": hook.kind, "widget": "w-1", **_columns(hook.payload, ".")}


def json_columns(hook: Hook) -> dict[str, Any]:
    """A table with a column for each key, nested ones as JSON text, as JSON.stringify writes it."""
    nested = {
        key: json.dumps(value, separators=(",", ":")) if isinstance(value, dict | list) else value
        for key, value in hook.payload.items()
    }
    return {"receivedAt": hook.iso, "kind": hook.kind, "widget": "w-1", **nested}


def aws_http_api(hook: Hook) -> dict[str, Any]:
    """API Gateway developer guide: hook.payload format 2.0."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": hook.path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "http": {"method": "POST", "path": hook.path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "requestId": "id",
            "stage": "$default",
            "time": hook.moment.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": hook.millis,
        },
        "body": hook.base64,
        "isBase64Encoded": True,
    }


def aws_rest_api(hook: Hook) -> dict[str, Any]:
    """API Gateway developer guide: hook.payload format 1.0."""
    return {
        "version": "1.0",
        "resource": "/{proxy+}",
        "path": hook.path,
        "httpMethod": "POST",
        "headers": {"content-type": "application/json"},
        "requestContext": {
            "requestTime": hook.moment.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": hook.millis,
            "stage": "$default",
        },
        "body": hook.text,
        "isBase64Encoded": False,
    }


def aws_load_balancer(hook: Hook) -> dict[str, Any]:
    """Elastic Load Balancing guide: a Lambda function as target."""
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:x:1:targetgroup/y/z"}},
        "httpMethod": "POST",
        "path": hook.path,
        "queryStringParameters": {},
        "headers": {"content-type": "application/json"},
        "body": hook.text,
        "isBase64Encoded": False,
    }


def aws_sqs(hook: Hook) -> dict[str, Any]:
    """Lambda developer guide: a record of an SQS event."""
    return {
        "messageId": "19dd0b57-b21e-4ac1-bd88-01bbb068cb78",
        "receiptHandle": "MessageReceiptHandle",
        "body": hook.text,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": str(hook.millis), "SenderId": "1"},
        "messageAttributes": {},
        "md5OfBody": "7b270e59b47ff90a553787216d55d91d",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:chats",
        "awsRegion": "us-east-1",
    }


def aws_sqs_cli(hook: Hook) -> dict[str, Any]:
    """AWS CLI reference: a message of sqs receive-message with all attributes."""
    return {
        "MessageId": "19dd0b57-b21e-4ac1-bd88-01bbb068cb78",
        "ReceiptHandle": "AQEBzbVv",
        "MD5OfBody": "7b270e59b47ff90a553787216d55d91d",
        "Body": hook.text,
        "Attributes": {"SenderId": "1", "SentTimestamp": str(hook.millis)},
    }


def aws_sns_lambda(hook: Hook) -> dict[str, Any]:
    """Lambda developer guide: a record of an SNS event."""
    return {
        "EventVersion": "1.0",
        "EventSubscriptionArn": "arn:aws:sns:us-east-1:123456789012:chats:1",
        "EventSource": "aws:sns",
        "Sns": {
            "Type": "Notification",
            "MessageId": "95df01b4-ee98-5cb9-9903-4c221d41eb5e",
            "TopicArn": f"arn:aws:sns:us-east-1:123456789012:chatlio-{hook.kind}",
            "Subject": "webhook",
            "Message": hook.text,
            "Timestamp": hook.iso,
            "MessageAttributes": {},
        },
    }


def aws_kinesis_lambda(hook: Hook) -> dict[str, Any]:
    """Lambda developer guide: a record of a Kinesis event."""
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "1",
            "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "data": hook.base64,
            "approximateArrivalTimestamp": hook.millis / 1000,
        },
        "eventSource": "aws:kinesis",
        "eventID": "shardId-000000000006:49590338271490256608559692538361571095921575989136588898",
        "awsRegion": "us-east-2",
        "eventSourceARN": f"arn:aws:kinesis:us-east-2:123456789012:stream/chatlio-{hook.kind}",
    }


def aws_kinesis(hook: Hook) -> dict[str, Any]:
    """AWS CLI reference: a record of kinesis get-records."""
    return {
        "SequenceNumber": "49544985256907370027570885864065577703022652638596431874",
        "ApproximateArrivalTimestamp": hook.iso.replace("Z", "+00:00"),
        "Data": hook.base64,
        "PartitionKey": "1",
    }


def aws_firehose(hook: Hook) -> dict[str, Any]:
    """Lambda developer guide: a record of a Firehose transformation event."""
    return {
        "recordId": "49546986683135544286507457936321625675700192471156785154000000",
        "approximateArrivalTimestamp": hook.millis,
        "data": hook.base64,
    }


def aws_sns(hook: Hook) -> dict[str, Any]:
    """SNS developer guide: a notification over HTTP."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": f"arn:aws:sns:us-west-2:123456789012:chatlio-{hook.kind}",
        "Message": hook.text,
        "Timestamp": hook.iso,
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
    }


def aws_eventbridge(hook: Hook) -> dict[str, Any]:
    """EventBridge user guide: the structure of an event."""
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": f"Chatlio {hook.kind}",
        "source": "com.example.chats",
        "account": "111122223333",
        "time": hook.iso,
        "region": "us-west-1",
        "resources": [],
        "detail": hook.payload,
    }


def aws_cloudwatch(hook: Hook) -> dict[str, Any]:
    """CloudWatch Logs: an event of filter-log-events."""
    return {
        "logStreamName": "chats/1",
        "timestamp": hook.millis,
        "message": hook.text + "\n",
        "ingestionTime": hook.millis + 900,
        "eventId": "37957510267006724342200454931664427310462681533819518976",
    }


def aws_cloudwatch_subscription(hook: Hook) -> dict[str, Any]:
    """CloudWatch Logs: one of the logEvents that a subscription delivers."""
    return {
        "id": "31953106606966983378809025079804211143289615424298221568",
        "timestamp": hook.millis,
        "message": hook.text,
    }


def google_pubsub(hook: Hook) -> dict[str, Any]:
    """Cloud Pub/Sub: the body of a push request."""
    return {
        "message": {
            "attributes": {},
            "data": hook.base64,
            "messageId": "2070443601311540",
            "message_id": "2070443601311540",
            "publishTime": hook.iso,
            "publish_time": hook.iso,
        },
        "subscription": f"projects/myproject/subscriptions/chatlio-{hook.kind}",
    }


def google_pubsub_pull(hook: Hook) -> dict[str, Any]:
    """Cloud Pub/Sub: one of the received messages of a pull."""
    return {
        "ackId": "RVNEUAYWLF1GSFE3GQhoUQ5PXiM_NSAoRRoG",
        "message": {"data": hook.base64, "messageId": "2070443601311540", "publishTime": hook.iso},
    }


def google_pubsub_bigquery(hook: Hook) -> dict[str, Any]:
    """Cloud Pub/Sub: a row of a BigQuery subscription that writes metadata."""
    return {
        "subscription_name": f"projects/1/subscriptions/chatlio-{hook.kind}",
        "message_id": "2070443601311540",
        "publish_time": hook.moment.strftime("%Y-%m-%d %H:%M:%S.%f UTC"),
        "data": hook.text,
        "attributes": "{}",
    }


def cloudevents(hook: Hook) -> dict[str, Any]:
    """CloudEvents 1.0, JSON event format."""
    return {
        "specversion": "1.0",
        "type": f"com.chatlio.{hook.kind}",
        "source": "/chats",
        "id": "A234-1234-1234",
        "time": hook.iso,
        "datacontenttype": "application/json",
        "data": hook.payload,
    }


def cloudevents_base64(hook: Hook) -> dict[str, Any]:
    """The same with binary data."""
    event = cloudevents(hook)
    del event["data"]
    return {**event, "data_base64": hook.base64}


def segment(hook: Hook) -> dict[str, Any]:
    """Segment's spec: a track call with the common fields."""
    return {
        "anonymousId": "507f191e810c19729de860ea",
        "context": {"library": {"name": "unknown", "version": "unknown"}},
        "event": f"chatlio {hook.kind}",
        "integrations": {},
        "messageId": "022bb90c-bbac-11e4-8dfc-aa07a5b093db",
        "properties": hook.payload,
        "receivedAt": hook.iso,
        "sentAt": "2001-01-01T00:00:00.000Z",
        "timestamp": "2001-01-01T00:00:00.000Z",
        "type": "track",
        "version": 2,
    }


def vector(hook: Hook) -> dict[str, Any]:
    """Vector: an event of the http_server source, its body not decoded."""
    return {
        "message": hook.text,
        "path": hook.path,
        "source_type": "http_server",
        "timestamp": hook.iso,
    }


def nginx(hook: Hook) -> dict[str, Any]:
    """nginx: log_format json escape=json with these variables under their own names."""
    return {
        "time_iso8601": hook.moment.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        "remote_addr": "192.0.2.1",
        "request_method": "POST",
        "request_uri": hook.path,
        "status": "200",
        "request_body": hook.text,
    }


def journald(hook: Hook) -> dict[str, Any]:
    """systemd: an entry of journalctl -o json; unprintable values are arrays of bytes."""
    return {
        "__CURSOR": "s=1",
        "__REALTIME_TIMESTAMP": str(hook.millis * 1000),
        "_HOSTNAME": "hooks",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": hook.kind,
        "MESSAGE": list(hook.text.encode()) if hook.kind == "feedback" else hook.text,
    }


def har(hook: Hook) -> dict[str, Any]:
    """HAR 1.2: an entry."""
    return {
        "startedDateTime": hook.iso,
        "time": 50,
        "request": {
            "method": "POST",
            "url": f"https://hooks.example{hook.path}",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": [],
            "queryString": [],
            "postData": {"mimeType": "application/json", "params": [], "text": hook.text},
            "headersSize": -1,
            "bodySize": -1,
        },
        "response": {"status": 200, "statusText": "OK", "content": {"size": 0, "mimeType": "text/plain"}},
        "cache": {},
        "timings": {"send": 1, "wait": 1, "receive": 1},
    }


def _wiremock(hook: Hook) -> dict[str, Any]:
    return {
        "url": hook.path,
        "absoluteUrl": f"http://localhost:8080{hook.path}",
        "method": "POST",
        "clientIp": "192.0.2.1",
        "headers": {"Content-Type": "application/json"},
        "cookies": {},
        "browserProxyRequest": False,
        "loggedDate": hook.millis,
        "bodyAsBase64": hook.base64,
        "body": hook.text,
        "loggedDateString": hook.moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def wiremock(hook: Hook) -> dict[str, Any]:
    """WireMock: an entry of GET /__admin/requests."""
    return {
        "id": "45760a03-eebb-4387-ad0d-bb89b5d3d662",
        "request": _wiremock(hook),
        "responseDefinition": {"status": 404},
    }


def wiremock_request(hook: Hook) -> dict[str, Any]:
    """WireMock: a request of POST /__admin/requests/find."""
    return _wiremock(hook)


def request_log(hook: Hook) -> dict[str, Any]:
    """A server that logs req.method, req.url, req.headers, req.body and new Date()."""
    return {
        "timestamp": hook.iso,
        "method": "POST",
        "url": f"{hook.path}?source=chatlio",
        "headers": {"content-type": "application/json"},
        "body": hook.payload,
    }


def request_log_path(hook: Hook) -> dict[str, Any]:
    """The same with req.path, its body kept as text."""
    return {
        "timestamp": hook.iso,
        "method": "POST",
        "path": hook.path,
        "headers": {"content-type": "application/json"},
        "body": hook.text,
    }


SAMPLES: dict[str, Callable[[Hook], dict[str, Any]]] = {
    "bare": bare,
    "envelope": envelope,
    "webhook.site": webhook_site,
    "webhook-tester": webhook_tester,
    "ngrok": ngrok,
    "requestbin": requestbin,
    "beeceptor": beeceptor,
    "hookdeck-request": hookdeck_request,
    "hookdeck-event": hookdeck_event,
    "pipedream": pipedream,
    "n8n": n8n,
    "zapier": zapier,
    "dotted-columns": dotted_columns,
    "json-columns": json_columns,
    "aws-http-api": aws_http_api,
    "aws-rest-api": aws_rest_api,
    "aws-load-balancer": aws_load_balancer,
    "aws-sqs": aws_sqs,
    "aws-sqs-cli": aws_sqs_cli,
    "aws-sns-lambda": aws_sns_lambda,
    "aws-kinesis-lambda": aws_kinesis_lambda,
    "aws-kinesis": aws_kinesis,
    "aws-firehose": aws_firehose,
    "aws-sns": aws_sns,
    "aws-eventbridge": aws_eventbridge,
    "aws-cloudwatch": aws_cloudwatch,
    "aws-cloudwatch-subscription": aws_cloudwatch_subscription,
    "google-pubsub": google_pubsub,
    "google-pubsub-pull": google_pubsub_pull,
    "google-pubsub-bigquery": google_pubsub_bigquery,
    "cloudevents": cloudevents,
    "cloudevents-base64": cloudevents_base64,
    "segment": segment,
    "vector": vector,
    "nginx": nginx,
    "journald": journald,
    "har": har,
    "wiremock": wiremock,
    "wiremock-request": wiremock_request,
    "request-log": request_log,
    "request-log-path": request_log_path,
}

NO_TIME = {"pipedream", "n8n", "aws-load-balancer", "bare"}
NO_KIND = {
    "requestbin", "aws-sqs", "aws-sqs-cli", "aws-kinesis", "aws-firehose", "aws-cloudwatch",
    "aws-cloudwatch-subscription", "google-pubsub-pull", "bare",
}  # fmt: skip
NO_TRANSCRIPTS = {"zapier"}
WIDGET = {"envelope", "zapier", "dotted-columns", "json-columns"}
COLUMNS = {"zapier", "dotted-columns", "json-columns"}
"""Empty cells are absent fields, so another payload is hashed than the one that was sent."""

HASHED = {"event_id", "payload_digest"}
CANNOT_CARRY: dict[str, set[str]] = {
    **{name: {"received_at", "occurred_at", "occurred_at_source", *HASHED} for name in NO_TIME},
    **dict.fromkeys(COLUMNS, HASHED),
}
"""The columns in which a dialect's tables differ from those of our envelope, except ``widget_id``."""


def _hooks(conversation: Payload, offline: Payload, transcript: Payload) -> list[Hook]:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(text)

    return [
        Hook(conversation, "conversation_started", at("2024-03-11T08:59:43+00:00")),
        Hook({**conversation, "message": "Anyone there?"}, "unanswered", at("2024-03-11T09:00:45+00:00")),
        Hook(transcript, "transcript", at("2024-03-11T08:03:11+00:00")),
        Hook(
            {**conversation, "message": 'Gr\u00fc\u00dfe, "all"; fine\n\U0001f642'},
            "feedback",
            at("2024-03-11T09:10:00+00:00"),
        ),
        Hook(offline, "offline_message", at("2024-03-12T21:15:00+00:00")),
    ]


@pytest.fixture
def hooks(conversation: Payload, offline: Payload, transcript: Payload) -> list[Hook]:
    """A webhook of each kind."""
    return _hooks(conversation, offline, transcript)


def _converted(folder: Path, hooks: list[Hook], name: str) -> Tables:
    """Convert webhooks in a dialect; what it cannot carry comes from file names and the file's time."""
    folder.mkdir()
    for number, hook in enumerate(hooks):
        kind = f"-{hook.kind}" if name in NO_KIND else ""
        (folder / f"{number}{kind}.json").write_text(json.dumps(SAMPLES[name](hook)))
    return Export([folder], ReadOptions.from_options(undated_as="2024-03-20T00:00:00Z")).to_tables(quiet=True)


def test_every_dialect_has_a_sample() -> None:
    """A dialect without a sample is untested."""
    assert list(SAMPLES) == [dialect.name for dialect in DIALECTS]


@pytest.mark.parametrize("name", SAMPLES)
def test_no_sample_is_recognised_as_another_dialect(hooks: list[Hook], name: str) -> None:
    """For each dialect, a sample of each kind fits that dialect and no other."""
    for hook in hooks:
        sample = SAMPLES[name](hook)
        assert recognise(sample).name == name
        loggers = [logger.name for logger in LOGGERS if logger.fits(sample)]
        assert loggers == ([] if name in ("bare", "envelope") else [name])


@pytest.mark.parametrize("name", SAMPLES)
def test_every_dialect_gives_the_same_tables(tmp_path: Path, hooks: list[Hook], name: str) -> None:
    """The tables equal those of our envelope, except for what a dialect cannot carry (listed above)."""
    if name in NO_TRANSCRIPTS:
        hooks = [hook for hook in hooks if hook.kind != "transcript"]
    expected = _converted(tmp_path / "expected", hooks, "envelope")
    found = _converted(tmp_path / "found", hooks, name)
    assert found.rejected.empty
    assert found.findings.dialects == {name: len(hooks)}
    cannot = CANNOT_CARRY.get(name, set()) | (set() if name in WIDGET else {"widget_id", "event_id"})
    left_out = [*(cannot & set(expected.events)), "source_file"]
    pd.testing.assert_frame_equal(
        found.events.drop(columns=left_out), expected.events.drop(columns=left_out), check_like=False
    )
    for column in cannot - {"widget_id"}:
        assert found.events[column].notna().all() or name in NO_TIME
    reported = ["event_id"]
    pd.testing.assert_frame_equal(
        found.messages.drop(columns=reported), expected.messages.drop(columns=reported)
    )


def test_flattened_messages_are_reported(tmp_path: Path, hooks: list[Hook]) -> None:
    """Messages that were flattened into strings cannot be restored, and nothing is invented."""
    (tmp_path / "transcript.json").write_text(json.dumps(zapier(hooks[2])))
    (rejected,) = Export([tmp_path], ReadOptions()).to_tables(quiet=True).rejections
    assert (rejected.reason, rejected.field) == ("wrong_type", "messages")
    assert "flattened" in rejected.detail
