"""Methods that learn from pictures and their captions."""
