"""The ``generate_traces`` component."""
