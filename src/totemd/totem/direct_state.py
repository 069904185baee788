"""What a node knows of the direct token (protocol/, chapter "The direct token"); all but `features` is of one ring."""

from math import inf

from totemd.ids import NodeId
from totemd.wire.packets import Lap


class Direct:
    """The resting token, who has it, and who wants it."""

    __slots__ = (
        "aru",
        "aru_addr",
        "ask_deadline",
        "asks",
        "asks_sent",
        "backlog",
        "base",
        "busy_laps",
        "called",
        "cancelled",
        "favourite",
        "fcc",
        "features",
        "given_seq",
        "given_to",
        "given_token_seq",
        "holder",
        "holding",
        "in_ring",
        "lap_base",
        "lap_due",
        "lap_token_seq",
        "lent",
        "loan_out",
        "rest_end",
        "restable",
        "retrans_flg",
        "safe_high",
        "safe_laps",
        "senders",
        "seq",
        "target",
    )

    def __init__(self) -> None:
        self.features: dict[NodeId, int] = {}
        """What each node's last join announced."""
        self.reset()

    def reset(self) -> None:
        """A ring ends, or begins."""
        self.in_ring = False
        """Whether all members of the ring know how."""
        self.called = False
        """Whether the rotation that goes on, or went on last, is one after which the token rests: then ask for it."""
        self.cancelled = False
        """Whether somebody has asked for one more rotation since."""
        # The token that rests here, or with the representative what it gave away.
        self.holding = False
        """Whether the token is on loan here."""
        self.lent = False
        """Whether this representative has given its resting token away."""
        self.restable = False
        """Whether the parked token asks for nothing, so that it can be made anew."""
        self.seq = 0
        """The resting token's."""
        self.base = 0
        """Everybody has the messages up to here, as a rotation has shown."""
        self.rest_end = inf
        """When the token has to rotate again."""
        self.lap_due = Lap.NONE
        """Whether it has to rotate as soon as it can."""
        self.target = 0
        self.aru = 0
        self.aru_addr = 0
        self.backlog = 0
        self.fcc = 0
        self.retrans_flg = 0
        # Who wants it
        self.asks: dict[NodeId, int] = {}
        """Who has asked here, and the last visit of the token that each had seen."""
        self.holder = 0
        """Who has the resting token, as far as is known here."""
        self.ask_deadline = inf
        self.asks_sent = 0
        # What was given away last
        self.loan_out = False
        """Whether nothing shows yet that it arrived."""
        self.given_to = 0
        self.given_seq = 0
        self.given_token_seq = 0
        # The representative's view of the last rotation
        self.favourite = 0
        """Who alone has sent since the rotation before: it gets the resting token unasked."""
        self.lap_base = 0
        """The token's seq when it began."""
        self.lap_token_seq = 0
        self.senders: set[NodeId] = set()
        """Who has multicast since."""
        self.busy_laps = 0
        """How many rotations have to follow before the token may rest: several nodes wanted to send."""
        self.safe_high = 0
        """The highest number of a SAFE message."""
        self.safe_laps = 0
        """Rotations since all of them were shown to be everywhere."""
