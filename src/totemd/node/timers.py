"""Named one-shot timers for the services, on the node's clock."""

from collections.abc import Callable
from math import inf


class Timers:
    """A handful of timers; a name has one at most."""

    def __init__(self) -> None:
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self.next_deadline = inf
        """When `run` is wanted next; inf if no timer runs."""

    def set(self, name: str, deadline: float, action: Callable[[], None]) -> None:
        """Run `action` at `deadline` (seconds of the node's clock) instead of what `name` was set to before."""
        self._timers[name] = (deadline, action)
        self._update()

    def cancel(self, name: str) -> None:
        """Forget `name`; no error if it does not run."""
        if self._timers.pop(name, None) is not None:
            self._update()

    def run(self, now: float) -> None:
        """Do what is due."""
        if self.next_deadline > now:
            return
        due = sorted((deadline, name) for name, (deadline, _) in self._timers.items() if deadline <= now)
        for _, name in due:
            entry = self._timers.get(name)
            if entry is not None and entry[0] <= now:
                del self._timers[name]
                entry[1]()
        self._update()

    def _update(self) -> None:
        self.next_deadline = min((deadline for deadline, _ in self._timers.values()), default=inf)
