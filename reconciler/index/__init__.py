"""A file beside the store that remembers what commits say: parsed documents by content, and the compiled state of one tree. It can be deleted at any time."""
