"""Files as they go over the wire: all DATA packets of a file in one piece, so that a window of them is a slice that nobody copies.

In: contents, block sizes. Out: images, kept by the identity of the content and the block size, of bounded size together; what does not fit is cut as it is
sent.
"""

from collections import OrderedDict
from dataclasses import dataclass

from reconciler.boot.tftp_packet import DATA, HEAD

BLOCKS = frozenset({512, 1024, 1408, 1428, 1432, 1448, 1456, 1468})
"""The block sizes that boot ROMs, loaders and we ask for. For others no image is made: nobody shall make us make one for each size there is."""
LARGEST_PART = 4
"""A file whose image would take more than this part of all (a fourth) has none: cutting it at once would keep the loop from others, to save a twentieth of
the time."""


def cut(content: bytes, block: int, first: int, number: int) -> bytes:
    """So many DATA packets, one after the other, from the one of number `first`, counted from 1; on the wire numbers go round after 65,535 to 0. The last
    packet of a file is always shorter than a block, if need be empty."""
    return b"".join(
        HEAD.pack(DATA, index & 0xFFFF) + content[(index - 1) * block : index * block]
        for index in range(first, min(first + number, packets(len(content), block) + 1))
    )


def packets(size: int, block: int) -> int:
    """How many DATA packets carry so many bytes."""
    return size // block + 1


@dataclass(slots=True, kw_only=True)
class _Kept:
    content: bytes
    image: memoryview
    users: int


class Images:
    """Keeps at most `most_bytes`. An image in use stays; of the others the one that was not used for longest goes first."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._kept_bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[int, int], _Kept] = OrderedDict()

    def take(self, content: bytes, block: int) -> memoryview | None:
        """The image, to be given back; None: it does not fit, or is not worth it. While it is kept so is its content, whose identity stays its own."""
        key = (id(content), block)
        if key not in self._kept and not (block in BLOCKS and self._made(content, block)):
            return None
        kept = self._kept[key]
        kept.users += 1
        self._kept.move_to_end(key)
        return kept.image

    def give_back(self, content: bytes, block: int) -> None:
        """One transfer less uses it."""
        self._kept[id(content), block].users -= 1

    def _made(self, content: bytes, block: int) -> bool:
        count = packets(len(content), block)
        size = len(content) + HEAD.size * count
        if size > self._most // LARGEST_PART:
            return False
        unused = [key for key, kept in self._kept.items() if not kept.users]
        while self._kept_bytes + size > self._most and unused:
            self._kept_bytes -= self._kept.pop(unused.pop(0)).image.nbytes
        if self._kept_bytes + size > self._most:
            return False
        self._kept[id(content), block] = _Kept(content=content, image=memoryview(cut(content, block, 1, count)), users=0)
        self._kept_bytes += size
        return True
