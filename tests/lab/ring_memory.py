"""What a libqb ring lies in, in memory of our own."""


class Memory:
    """A file in memory."""

    def __init__(self, content: bytes, size_max: int = 1 << 20) -> None:
        """It may be written to up to `size_max` bytes, as a real one gets longer."""
        self.content = bytearray(content)
        self.size_max = size_max

    def read(self, offset: int, size: int) -> bytes:
        assert offset >= 0
        return bytes(self.content[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        assert offset >= 0
        assert offset + len(data) <= self.size_max
        self.content[offset : offset + len(data)] = data


class Count:
    """A semaphore."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def post(self, count: int) -> None:
        self.count += count

    def take(self, count: int) -> None:
        self.count -= count

    def value(self) -> int:
        return self.count
