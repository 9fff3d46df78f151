"""The HTTP server: process, gateway, contexts, errors, filters."""
