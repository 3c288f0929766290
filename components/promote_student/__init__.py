"""The ``promote_student`` component."""
