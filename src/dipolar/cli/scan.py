"""``dipolar scan``: from a 4D-STEM scan and a few labels to a map of domains."""

from __future__ import annotations

from cyclopts import App

app = App(name="scan", help="Map domains from a 4D-STEM scan and a few labels.", help_format="plaintext")
# By name: what they need is imported when one of them is called.
