"""Rows, and what makes tokens of them."""
