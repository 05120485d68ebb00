"""The page of one run: its chart, its events, its stages on one axis of time, and its export."""
