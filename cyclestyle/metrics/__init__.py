"""Measures of translated pictures."""
