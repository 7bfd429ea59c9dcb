"""The report: what was trained, measured and drawn, and what of the reference holds."""
