"""The ``train_student`` component."""
