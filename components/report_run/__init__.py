"""The ``report_run`` component."""
