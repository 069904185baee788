"""How often something may happen that others can cause."""


class Limiter:
    """At most `burst` at once and `rate_per_s` in the long run."""

    __slots__ = ("_burst", "_last_s", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._last_s = 0.0

    def allow(self, now: float) -> bool:
        """Whether it may happen now; if so, it is counted."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._last_s) * self._rate_per_s)
        self._last_s = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
