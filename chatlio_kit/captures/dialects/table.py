"""The table of dialects: a row for each way in which loggers write webhooks down.

To add one, add a row here and a sample of it to ``tests/captures/test_dialect_samples.py``. A row names only
fields that its source documents.
"""

from __future__ import annotations

from typing import Any

from chatlio_kit.captures.dialects.columns import DOTS, ZAPIER
from chatlio_kit.captures.dialects.dialect import Body, Clock, Dialect, FieldPath

_AWS = "docs.aws.amazon.com"
_BESIDE = {"received": "receivedAt", "label": "kind", "widget": "widget", "keeps_kind": True}


def _row(name: str, title: str, needs: str, payload: str, source: str, **more: Any) -> Dialect:
    for key in ("received", "label", "widget", "base64_flag"):
        if key in more:
            more[key] = FieldPath.of(more[key])
    lacks = tuple(map(FieldPath.of, more.pop("lacks", "").split()))
    return Dialect(
        name,
        title,
        tuple(map(FieldPath.of, needs.split())),
        FieldPath.of(payload),
        source,
        lacks=lacks,
        **more,
    )


BARE = Dialect(
    "bare",
    "What Chatlio posted, and nothing around it",
    (),
    FieldPath(()),
    "chatlio.com/docs/webhooks, chatlio.com/docs/chat-transcripts-v1",
    Body.ITSELF,
)
ENVELOPE = _row(
    "envelope",
    "chatlio_kit's own capture envelope",
    "payload",
    "payload",
    "this page; in tables the payload is JSON as text",
    body=Body.OBJECT,
    **_BESIDE,
)

# fmt: off
LOGGERS: tuple[Dialect, ...] = (
    _row("webhook.site", "webhook.site, a request of its API",
         "uuid token_id created_at content", "content",
         "docs.webhook.site/api/requests, docs.webhook.site/api/examples",
         received="created_at", clock=Clock.UTC, label="url"),  # as its sorting, in microseconds
    _row("webhook-tester", "webhook-tester (self-hosted), a request of its API",
         "uuid captured_at_unix_milli request_payload_base64", "request_payload_base64",
         "github.com/tarampampam/webhook-tester, api/openapi.yml",
         body=Body.BASE64, received="captured_at_unix_milli", clock=Clock.MILLISECONDS, label="url"),
    _row("ngrok", "ngrok's agent, a request that it captured",
         "id start request.raw request.uri", "request.raw",
         "ngrok.com/docs/agent/api, List captured requests",
         body=Body.HTTP, received="start", label="request.uri"),
    _row("requestbin", "RequestBin as it was before Pipedream (self-hosted), a request of its API",
         "time remote_addr query_string form_data body path", "body",
         "github.com/clearbit/requestbin, requestbin/models.py",
         received="time", clock=Clock.SECONDS, label="path"),
    _row("beeceptor", "Beeceptor, a request of its API with full details",
         "id date timeTaken req.b", "req.b",
         "beeceptor.com/docs/api-for-request-history-extract",
         received="date", label="path"),
    _row("hookdeck-request", "Hookdeck, a request of its API",
         "id ingested_at data.body", "data.body",
         "hookdeck.com/docs/api, Requests",
         received="ingested_at", label="data.path"),
    _row("hookdeck-event", "Hookdeck, an event of its API",
         "id event_data_id created_at data.body", "data.body",
         "hookdeck.com/docs/api, Events",
         received="created_at", label="data.path", lacks="ingested_at"),
    _row("pipedream", "Pipedream and RequestBin, the event of an HTTP trigger",
         "method path headers body bodyRaw", "bodyRaw",
         "pipedream.com/docs/workflows/building-workflows/triggers; github.com/PipedreamHQ/pipedream",
         label="path"),
    _row("n8n", "n8n, an item of its Webhook node",
         "headers params query body webhookUrl executionMode", "body",
         "docs.n8n.io, Webhook node",
         label="webhookUrl"),
    _row("zapier", "Zapier, a row of a table or spreadsheet with nested keys as columns (visitor__UUID)",
         "", "", "integrators' guides to Zapier: nested keys are joined by two underscores, lists by commas",
         body=Body.COLUMNS, separator=ZAPIER, **_BESIDE),
    _row("dotted-columns", "A table with nested keys as columns (visitor.UUID)",
         "", "", "pandas.pydata.org, json_normalize",
         body=Body.COLUMNS, separator=DOTS, **_BESIDE),
    _row("json-columns", "A table with a column for each key of the payload, nested ones as JSON text",
         "", "", "chatlio.com/docs/webhooks, chatlio.com/docs/chat-transcripts-v1",
         body=Body.COLUMNS, **_BESIDE),
    _row("aws-http-api", "AWS Lambda behind an HTTP API or a function URL (payload format 2.0)",
         "version rawPath isBase64Encoded requestContext.timeEpoch", "body",
         f"{_AWS}/apigateway, Lambda proxy integrations for HTTP APIs",
         base64_flag="isBase64Encoded", received="requestContext.timeEpoch", clock=Clock.MILLISECONDS,
         label="rawPath"),
    _row("aws-rest-api", "AWS Lambda behind a REST API (payload format 1.0)",
         "httpMethod path isBase64Encoded requestContext.requestTimeEpoch", "body",
         f"{_AWS}/apigateway, Lambda proxy integrations",
         base64_flag="isBase64Encoded", received="requestContext.requestTimeEpoch", clock=Clock.MILLISECONDS,
         label="path"),
    _row("aws-load-balancer", "AWS Lambda behind an Application Load Balancer",
         "httpMethod path isBase64Encoded requestContext.elb", "body",
         f"{_AWS}/elasticloadbalancing, Lambda functions as targets",
         base64_flag="isBase64Encoded", label="path"),
    _row("aws-sqs", "Amazon SQS, a message of a Lambda event",
         "messageId receiptHandle body attributes.SentTimestamp", "body",
         f"{_AWS}/lambda, Using Lambda with Amazon SQS",
         received="attributes.SentTimestamp", clock=Clock.MILLISECONDS),
    _row("aws-sns", "Amazon SNS, a notification",
         "Type MessageId TopicArn Message Timestamp", "Message",
         f"{_AWS}/sns, HTTP/HTTPS notification JSON format",
         received="Timestamp", label="TopicArn"),
    _row("aws-eventbridge", "Amazon EventBridge, an event",
         "detail-type source time detail", "detail",
         f"{_AWS}/eventbridge, Event structure",
         received="time", label="detail-type"),
    _row("aws-cloudwatch", "Amazon CloudWatch Logs, an event of filter-log-events or get-log-events",
         "timestamp message ingestionTime", "message",
         f"{_AWS}/AmazonCloudWatchLogs, FilterLogEvents",
         received="timestamp", clock=Clock.MILLISECONDS),
    _row("aws-cloudwatch-subscription", "Amazon CloudWatch Logs, an event of a subscription",
         "id timestamp message", "message",
         f"{_AWS}/AmazonCloudWatch, Validate the flow of log events",
         received="timestamp", clock=Clock.MILLISECONDS, lacks="ingestionTime visitor source_type"),
    _row("google-pubsub", "Google Cloud Pub/Sub, a pushed message",
         "subscription message.data message.publishTime", "message.data",
         "cloud.google.com/pubsub/docs/push",
         body=Body.BASE64, received="message.publishTime", label="subscription"),
    _row("cloudevents", "CloudEvents 1.0 in JSON",
         "specversion id source type data", "data",
         "github.com/cloudevents/spec, JSON event format",
         received="time", label="type"),
    _row("cloudevents-base64", "CloudEvents 1.0 in JSON, with binary data",
         "specversion id source type data_base64", "data_base64",
         "github.com/cloudevents/spec, JSON event format",
         body=Body.BASE64, received="time", label="type"),
    _row("segment", "Segment, a track call that has the webhook for its properties",
         "messageId receivedAt type event properties", "properties",
         "twilio.com/docs/segment/connections/spec, Common fields and Track",
         received="receivedAt", label="event"),
    _row("vector", "Vector, an event of its http_server source",
         "source_type path timestamp message", "message",
         "vector.dev/docs/reference/configuration/sources/http_server",
         received="timestamp", label="path"),
    _row("nginx", "nginx, a log_format with escape=json and its variables' own names",
         "time_iso8601 request_body", "request_body",
         "nginx.org/en/docs/http/ngx_http_core_module.html#variables, ngx_http_log_module",
         received="time_iso8601", label="request_uri"),
    _row("har", "HAR 1.2, an entry of any proxy's or browser's export",
         "startedDateTime request.postData.text", "request.postData.text",
         "w3c.github.io/web-performance/specs/HAR/Overview.html; github.com/ahmadnassri/har-spec",
         received="startedDateTime", label="request.url"),
    _row("wiremock", "WireMock, an entry of its request journal",
         "id request.loggedDate request.url request.body", "request.body",
         "wiremock.org/docs/verifying",
         received="request.loggedDate", clock=Clock.MILLISECONDS, label="request.url"),
    _row("wiremock-request", "WireMock, a request that it found",
         "loggedDate absoluteUrl url body", "body",
         "wiremock.org/docs/verifying",
         received="loggedDate", clock=Clock.MILLISECONDS, label="url"),
    _row("request-log", "A server's own log, with the names of Node's and Express's requests",
         "method url headers body", "body",
         "nodejs.org/api/http.html, expressjs.com/en/api.html#req; timestamp as Date.toISOString writes it",
         received="timestamp", label="url", lacks="bodyRaw loggedDate"),
    _row("request-log-path", "The same, with a path in place of the URL",
         "method path headers body", "body",
         "nodejs.org/api/http.html, expressjs.com/en/api.html#req; timestamp as Date.toISOString writes it",
         received="timestamp", label="path", lacks="bodyRaw url form_data"),
)
# fmt: on

DIALECTS: tuple[Dialect, ...] = (BARE, ENVELOPE, *LOGGERS)
