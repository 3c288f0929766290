"""The ``filter_traces`` component."""
