"""flow_service."""
