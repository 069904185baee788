"""Sends a flood of hostile datagrams at a ring; prints how many.

python -m totemd_lab.flood KIND COUNT RATE_PER_S SEED MCAST_ADDRESS PORT LOCAL_ADDRESS ADDRESS...

First it listens to the ring's multicasts for a second, then it sends COUNT datagrams, in turn to the multicast address
and to one of the ADDRESSes. KIND is

- "malformed": nothing new in it parses: random bytes, headers cut off, foreign magic, version and types; and packets of
  the ring as they were heard, again and again. Even a member's own address may send these.
- "hostile": besides, packets of all types with plausible and extreme fields, of this ring and of foreign ones, and
  heard packets with bytes changed, cut off and appended. These come from strangers' addresses only: the protocol has no
  signatures, so from a member's address they would be its word.
"""

import random
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence

LISTEN_S = 1.0
POOL_SIZE = 8192
"""Distinct datagrams; they are sent in random order."""
BURST = 20
"""Datagrams between two looks at the clock."""

HEADER = struct.Struct("<HbbbII")
MAGIC = 0xC070
VERSION = 3
TYPES = range(6)
UDP_PAYLOAD_MAX = 65507
HEADER_AND_SENDER_SIZE = 25
"""Every packet is at least this long."""


class Forge:
    """Makes datagrams from what was heard."""

    def __init__(self, seed: int, heard: Sequence[bytes]) -> None:
        self._random = random.Random(seed)
        self._heard = heard or [HEADER.pack(MAGIC, VERSION, 2, 0, 1, 0) + bytes(16)]

    def malformed(self) -> Callable[[], bytes]:
        return self._random.choice((self.noise, self.beheaded, self.foreign, self.replay))

    def hostile(self) -> Callable[[], bytes]:
        return self._random.choice(
            (
                self.noise,
                self.beheaded,
                self.foreign,
                self.replay,
                self.plausible,
                self.mutated,
                self.cut,
                self.extended,
            )
        )

    def noise(self) -> bytes:
        """Random bytes of any length."""
        return self._random.randbytes(self._random.choice((0, 1, 12, 13, 37, 500, 1472, 9000, 60000)))

    def beheaded(self) -> bytes:
        """The beginning of a packet."""
        return self.replay()[: self._random.randrange(HEADER_AND_SENDER_SIZE)]

    def foreign(self) -> bytes:
        """A packet of another protocol, version, byte order or type."""
        magic, version, kind = self._random.choice(
            (
                (0x70C0, VERSION, 1),
                (0xFEFE, VERSION, 1),
                (MAGIC, 2, 3),
                (MAGIC, 4, 0),
                (MAGIC, VERSION, 6),
                (MAGIC, VERSION, -1),
            )
        )
        return HEADER.pack(magic, version, kind, 0, 1, 0) + self.replay()[HEADER.size :]

    def replay(self) -> bytes:
        """A packet as it was heard."""
        return self._random.choice(self._heard)

    def plausible(self) -> bytes:
        """A packet of any type with fields that are small, extreme or random."""
        header = HEADER.pack(
            MAGIC, VERSION, self._random.choice(TYPES), self._random.choice((0, 1, 2)), self.number(), 0
        )
        return header + b"".join(struct.pack("<I", self.number()) for _ in range(self._random.randrange(140)))

    def mutated(self) -> bytes:
        """A heard packet with some bytes changed behind its type."""
        data = bytearray(self.replay())
        for _ in range(self._random.randrange(1, 6)):
            data[self._random.randrange(4, len(data))] = self._random.randrange(256)
        return bytes(data)

    def cut(self) -> bytes:
        """A heard packet without its end."""
        data = self.replay()
        return data[: self._random.randrange(len(data))]

    def extended(self) -> bytes:
        """A heard packet with bytes appended, beyond every length that its kind has."""
        data = self.replay() + self._random.randbytes(self._random.choice((1, 4, 1500, 40000)))
        # What was heard may be another flood's, extended before.
        return data[:UDP_PAYLOAD_MAX]

    def number(self) -> int:
        """A 32-bit number of the kind that breaks things."""
        return self._random.choice(
            (self._random.randrange(8), 2**31 - 1, 2**31, 2**32 - 1, 384, 385, self._random.getrandbits(32))
        )


def listen(mcast_address: str, port: int, local_address: str) -> list[bytes]:
    """The ring's multicasts of a second; other floods may be heard, too, and their scraps are no packets."""
    heard: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.bind((mcast_address, port))
        membership = socket.inet_aton(mcast_address) + socket.inet_aton(local_address)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        end = time.monotonic() + LISTEN_S
        while (rest := end - time.monotonic()) > 0:
            if select.select([receiver], [], [], rest)[0]:
                heard.append(receiver.recv(65536))
    return [data for data in heard if len(data) >= HEADER_AND_SENDER_SIZE]


def main() -> None:
    """The command."""
    kind, count, rate, seed, mcast_address, port, local_address, *addresses = sys.argv[1:]
    heard = listen(mcast_address, int(port), local_address)
    forge = Forge(int(seed), heard)
    choose = forge.hostile if kind == "hostile" else forge.malformed
    pool = [choose()() for _ in range(POOL_SIZE)]
    targets = [(mcast_address, int(port)), *((address, int(port)) for address in addresses)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((local_address, 0))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(local_address))
        started = time.monotonic()
        for index in range(int(count)):
            target = targets[0] if index % 2 else targets[1 + index // 2 % len(addresses)]
            sender.sendto(random.choice(pool), target)
            if index % BURST == 0:
                ahead_s = index / float(rate) - (time.monotonic() - started)
                if ahead_s > 0:
                    time.sleep(ahead_s)
    print(f"sent {count}, heard {len(heard)}", flush=True)


if __name__ == "__main__":
    main()
