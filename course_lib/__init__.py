"""course_lib: self-supervised representation learning and generative models for images,
with one short file for each method."""

__version__ = "0.1.0"
