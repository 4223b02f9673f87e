"""Workflows as Python, and the JSON files written from it."""
