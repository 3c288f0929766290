"""The ``evaluate_student`` component."""
