"""Scan → which patterns to look at → labels: strategies, and the session that keeps every answer."""
