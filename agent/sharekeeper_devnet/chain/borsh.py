"""A strict borsh reader: every byte is accounted for, sizes are checked before anything is allocated."""


class DecodeError(Exception):
    """The bytes are not what they should be; the message says where."""


class Reader:
    """Takes borsh values from the front of a byte string.

    Every method raises DecodeError when the bytes run out or do not fit.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._at

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise DecodeError(f"Unexpected length of input: {count} bytes wanted at offset {self._at}")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def unsigned(self, width: int) -> int:
        """A little-endian integer of `width` bytes."""
        return int.from_bytes(self.take(width), "little")

    def blob(self) -> bytes:
        """Bytes with their count in front."""
        return self.take(self.unsigned(4))

    def text(self) -> str:
        """UTF-8 with its byte count in front."""
        at = self._at
        try:
            return self.blob().decode()
        except UnicodeDecodeError:
            raise DecodeError(f"invalid UTF-8 at offset {at}") from None

    def count(self, limit: int, what: str) -> int:
        """The number of elements of a list of `what`, at most `limit`."""
        count = self.unsigned(4)
        if count > limit:
            raise DecodeError(f"{count} {what}, at most {limit} are accepted")
        return count

    def option(self) -> bool:
        """Whether a value follows."""
        flag = self.unsigned(1)
        if flag > 1:
            raise DecodeError(f"invalid Option representation {flag}")
        return flag == 1

    def end(self) -> None:
        """Returns when nothing is left."""
        left = len(self._data) - self._at
        if left:
            raise DecodeError(f"Not all bytes read: {left} bytes follow the value")
