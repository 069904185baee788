"""What the ring calls."""

from totemd.groups.layer import Groups


class Upcalls:
    """The ring exists before the groups layer that sits on it: it is connected a little later."""

    def connect(self, groups: Groups) -> None:
        """From now on the ring calls `groups`."""
        self.packet_delivered = groups.packet_delivered
        self.configuration_changed = groups.configuration_changed
        self.token_received = groups.token_received
        self.token_sent = groups.token_sent
        self.waits_for_token = groups.waits_for_token
        self.switch_reassembly = groups.switch_reassembly
