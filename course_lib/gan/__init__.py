"""Adversarial networks: a generator that is taught by a network which tells its
pictures from real ones."""
