"""The ``select_teacher`` component."""
