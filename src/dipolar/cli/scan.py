"""``dipolar scan``: from a 4D-STEM scan and a few labels to a map of domains."""

from __future__ import annotations

from cyclopts import App

from dipolar.cli import scan_info, scan_label, scan_map, scan_series, scan_suggest, scan_train

app = App(name="scan", help="Map domains from a 4D-STEM scan and a few labels.", help_format="plaintext")
# The modules of the commands import what they need when one of them is called.
app.command(scan_info.info)
app.command(scan_suggest.suggest)
app.command(scan_label.label)
app.command(scan_train.train)
app.command(scan_map.map_, name="map")
app.command(scan_series.series)
