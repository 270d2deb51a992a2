"""Reference-free metrics of replies and the held-out loss of human replies."""
