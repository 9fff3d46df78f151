"""A client for Experience Platform's APIs. It knows nothing about Chatlio."""

from chatlio_kit.aep.catalog import Batch, duration_of
from chatlio_kit.aep.client import Platform
from chatlio_kit.aep.data_access import StoredFile
from chatlio_kit.aep.flow_service import FLOW_ID_HEADER, Endpoint, Flow, FlowRun, RunError, webhook_url
from chatlio_kit.aep.http import FileBody, Reply
from chatlio_kit.aep.ingestion import Inlet
from chatlio_kit.aep.masking import masked, masked_url
from chatlio_kit.aep.transport import to_int

__all__ = [
    "FLOW_ID_HEADER",
    "Batch",
    "Endpoint",
    "FileBody",
    "Flow",
    "FlowRun",
    "Inlet",
    "Platform",
    "Reply",
    "RunError",
    "StoredFile",
    "duration_of",
    "masked",
    "masked_url",
    "to_int",
    "webhook_url",
]
