"""JSON pointers (RFC 6901): how every place in a value is named."""


def escape(key: str) -> str:
    """A key as a reference token of RFC 6901."""
    return key.replace("~", "~0").replace("/", "~1")


def tokens(pointer: str) -> list[str]:
    """The reference tokens of a pointer, from the outermost, as the keys that they stand for."""
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def below(path: str, prefix: str) -> bool:
    """Whether a pointer is at or under another."""
    return path == prefix or path.startswith(prefix + "/")
