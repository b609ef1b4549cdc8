"""Adversarial networks: a generator is trained with a second network, which learns to
distinguish generated pictures from real ones."""
