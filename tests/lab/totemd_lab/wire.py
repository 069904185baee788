"""Somebody on the wire of a ring: hears all frames of a place, and floods it with what he makes of them.

python -m totemd_lab.wire tap FILE SECONDS
python -m totemd_lab.wire flood FILE COUNT RATE_PER_S SEED LOCAL_ADDRESS PORT ADDRESS...

`tap` writes each frame that passes the place's interface behind its length. `flood` sends COUNT datagrams made of the
UDP payloads in FILE, in turn to the addresses (multicast ones, too), at RATE_PER_S or (0) as fast as it goes: replays,
bits flipped, ends cut off, known headers before noise, sessions and keys that nobody has.
"""

import random
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ETHERNET = 14
UDP = 17
HEADER_SIZE = 37
"""Of a sealed datagram."""
POOL_SIZE = 8192
BURST = 20


def tap(file: Path, seconds: float) -> None:
    """Write what passes."""
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock, file.open("wb") as out:
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), 16 << 20)
        sock.bind(("eth0", 0))
        print("ready", flush=True)
        while (rest := end - time.monotonic()) > 0:
            sock.settimeout(rest)
            try:
                frame = sock.recv(65536)
            except TimeoutError:
                return
            out.write(len(frame).to_bytes(4, "little") + frame)


def frames(file: Path) -> Iterator[bytes]:
    """What `tap` has written."""
    data = file.read_bytes()
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def payloads(file: Path) -> list[bytes]:
    """Of all UDP datagrams (IPv4, unfragmented ones) among them."""
    found = []
    for frame in frames(file):
        packet = frame[ETHERNET:]
        if frame[12:14] == b"\x08\x00" and packet[9] == UDP and not int.from_bytes(packet[6:8], "big") & 0x3FFF:
            head = 4 * (packet[0] & 15)
            found.append(packet[head + 8 : int.from_bytes(packet[2:4], "big")])
    return found


def forged(heard: list[bytes], choose: random.Random) -> bytes:
    """One of the things that change nothing."""
    data = bytearray(choose.choice(heard))
    match choose.randrange(6):
        case 0:
            return bytes(data)
        case 1:
            bit = choose.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
            return bytes(data)
        case 2:
            return bytes(data[: choose.randrange(len(data))])
        case 3:
            return bytes(data[:HEADER_SIZE]) + choose.randbytes(choose.choice((16, 86, 1400)))
        case 4:
            data[13:29] = choose.randbytes(16)
            return bytes(data)
        case _:
            data[5:9] = choose.randbytes(4)
            return bytes(data)


def flood(file: Path, count: int, rate: float, seed: int, local: str, port: int, addresses: list[str]) -> None:
    """Send."""
    choose = random.Random(seed)
    heard = [data for data in payloads(file) if len(data) > HEADER_SIZE]
    pool = [forged(heard, choose) for _ in range(POOL_SIZE)]
    targets = [(address, port) for address in addresses]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((local, 0))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(local))
        started = time.monotonic()
        for index in range(count):
            sender.sendto(pool[index * 5003 % POOL_SIZE], targets[index % len(targets)])
            if rate and index % BURST == 0:
                ahead_s = index / rate - (time.monotonic() - started)
                if ahead_s > 0:
                    time.sleep(ahead_s)
        print(f"sent {count} of {len(heard)} heard in {time.monotonic() - started:.1f} s", flush=True)


def main() -> None:
    """The command."""
    verb, file, *words = sys.argv[1:]
    if verb == "tap":
        tap(Path(file), float(words[0]))
    else:
        count, rate, seed, local, port, *addresses = words
        flood(Path(file), int(count), float(rate), int(seed), local, int(port), addresses)


if __name__ == "__main__":
    main()
