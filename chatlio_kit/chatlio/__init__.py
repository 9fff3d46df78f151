"""Chatlio's data model: kinds, shapes, fields, ids and times."""
