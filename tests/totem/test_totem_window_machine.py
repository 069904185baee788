"""The ring's window against a dict of everything that was ever offered."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from totemd.ids import RingId
from totemd.limits import SEQUENCE_WINDOW
from totemd.totem.window import Window
from totemd.wire.packets import GUARANTEE_AGREED, ORDINARY, Mcast

RING = RingId(1, 4)

distances = st.one_of(
    st.integers(-3, 20), st.integers(SEQUENCE_WINDOW - 3, SEQUENCE_WINDOW + 3), st.integers(-(1 << 32), 1 << 32)
)


def message(seq: int) -> Mcast:
    return Mcast(1, ORDINARY, 1, seq, 0, RING, GUARANTEE_AGREED, b"%d" % seq)


class WindowMachine(RuleBasedStateMachine):
    """`held`: what a window must still have; `released`: the highest number that was given up."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window()
        self.held: dict[int, Mcast] = {}
        self.released = 0

    @rule(distance=distances)
    def add(self, distance: int) -> None:
        seq = self.released + distance
        wanted = self.released < seq < self.released + SEQUENCE_WINDOW and seq not in self.held
        one = message(seq)
        assert self.window.in_range(seq) == (self.released < seq < self.released + SEQUENCE_WINDOW)
        assert self.window.add(seq, one) is wanted
        if wanted:
            self.held[seq] = one

    @rule(start=st.integers(1, 30), count=st.integers(1, 40))
    def add_run(self, start: int, count: int) -> None:
        for seq in range(self.released + start, self.released + start + count):
            if self.window.add(seq, message(seq)):
                assert seq not in self.held
                self.held[seq] = message(seq)

    @rule(distance=st.one_of(st.integers(-3, 60), st.integers(0, 2 * SEQUENCE_WINDOW)))
    def release(self, distance: int) -> None:
        up_to = self.released + distance
        assert self.window.release(up_to) == max(0, distance)
        self.released = max(self.released, up_to)
        self.held = {seq: one for seq, one in self.held.items() if seq > self.released}

    @rule(start=st.integers(0, 60))
    def reach(self, start: int) -> None:
        first = self.released + start
        last = first
        while last + 1 in self.held:
            last += 1
        assert self.window.contiguous_from(first) == last

    @rule(above=st.integers(-2, 60), length=st.one_of(st.integers(-2, 90), st.just(1 << 40)))
    def look(self, above: int, length: int) -> None:
        above += self.released
        last = min(above + length, self.released + SEQUENCE_WINDOW - 1)
        inside = sorted(seq for seq in self.held if above < seq <= above + length)
        assert [seq for seq, _ in self.window.held(above, above + length)] == inside
        assert all(one == self.held[seq] for seq, one in self.window.held(above, above + length))
        if above >= self.released:
            missing = list(self.window.missing(above, above + length))
            assert missing == [seq for seq in range(above + 1, last + 1) if seq not in self.held]

    @invariant()
    def same_contents(self) -> None:
        assert len(self.window) == len(self.held) < SEQUENCE_WINDOW
        assert self.window.released == self.released
        for seq, one in self.held.items():
            assert seq in self.window
            assert self.window.get(seq) is one or self.window.get(seq) == one
        assert self.released not in self.window
        assert self.window.get(self.released) is None


TestWindow = WindowMachine.TestCase
