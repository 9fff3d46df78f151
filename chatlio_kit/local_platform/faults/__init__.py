"""Faults to practise with."""
