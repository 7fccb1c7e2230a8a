"""Measures hivebus against raw redis-py in the same run: ratios travel between machines, figures do not."""
