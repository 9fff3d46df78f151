"""Data Prep: mapping sets, expressions and their functions."""
