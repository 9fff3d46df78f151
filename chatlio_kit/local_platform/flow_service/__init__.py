"""Flow Service: connections, dataflows, runs."""
