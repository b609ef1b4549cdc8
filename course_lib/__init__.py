"""course_lib: self-supervised representation learning and generative models for images,
one short file per method."""

__version__ = "0.1.0"
