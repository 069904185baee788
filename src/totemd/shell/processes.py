"""What the machine says about other processes."""

from pathlib import Path


def process_name(pid: int) -> str:
    """What the kernel calls the process now; "" if it is gone, or of another pid namespace."""
    try:
        name = Path(f"/proc/{pid}/comm").read_bytes()
    except OSError:
        return ""
    return name.rstrip(b"\n").decode(errors="replace").replace("\0", "?")
