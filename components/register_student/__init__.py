"""The ``register_student`` component."""
