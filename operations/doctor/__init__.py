"""The doctor: it checks from outside whether each promise is kept."""
