"""Timeouts and constants of the ring, derived as corosync derives them (corosync.conf(5), section totem).

All numbers here are those of the file: milliseconds and counts. `parameters` turns them into seconds.
"""

from collections.abc import Iterator, Mapping

from totemd.config.model import TotemParameters
from totemd.limits import NET_MTU_DEFAULT, SEQUENCE_WINDOW

DEFAULTS = {
    "token": 3000,
    "token_coefficient": 650,
    "token_warning": 75,
    "token_retransmits_before_loss_const": 4,
    "join": 50,
    "send_join": 0,
    "merge": 200,
    "downcheck": 1000,
    "fail_recv_const": 2500,
    "seqno_unchanged_const": 30,
    "heartbeat_failures_allowed": 0,
    "max_network_delay": 50,
    "window_size": 50,
    "max_messages": 17,
    "miss_count_const": 5,
}
"""Defaults of what is not derived from other values."""

ZERO_IS_ZERO = {"token_coefficient", "token_warning", "send_join", "heartbeat_failures_allowed"}
"""Keys whose 0 is meant; any other 0 stands for the default."""

TIMEOUT_MIN_MS = 30
HOLD_MIN_MS = 14
TIMEOUT_MAX_MS = 2**32 - 1

_WITH_MINIMUM = ("max_network_delay", "token", "token_retransmit", "join", "consensus", "merge", "downcheck")
_MESSAGES_BYTES_MAX = 256000


def derive(raw: Mapping[str, int], node_count: int) -> dict[str, int]:
    """All values by their key in section totem (token with its coefficient applied). Unknown keys of `raw` are ignored.

    Never raises; `problems` says what is wrong with the result.
    """
    values = {key: _given(raw, key) or (0 if key in ZERO_IS_ZERO and key in raw else DEFAULTS[key]) for key in DEFAULTS}
    if node_count > 2:
        values["token"] += (node_count - 2) * values["token_coefficient"]
    token = values["token"]
    losses = values["token_retransmits_before_loss_const"]
    values["token_retransmit"] = _given(raw, "token_retransmit") or int(token / (losses + 0.2))
    values["hold"] = _given(raw, "hold") or int(values["token_retransmit"] * 0.8 - 10)
    values["consensus"] = _given(raw, "consensus") or int(1.2 * token)
    return values


def _given(raw: Mapping[str, int], key: str) -> int:
    return raw.get(key, 0)


def problems(values: Mapping[str, int], raw: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """What makes a derived set unusable: pairs of key and text."""
    for key in _WITH_MINIMUM:
        if values[key] < TIMEOUT_MIN_MS:
            yield key, _too_small(key, values[key], TIMEOUT_MIN_MS, raw)
    if values["hold"] < HOLD_MIN_MS:
        yield "hold", _too_small("hold", values["hold"], HOLD_MIN_MS, raw)
    if values["consensus"] < values["join"]:
        yield "consensus", f"{values['consensus']} ms is less than join ({values['join']} ms); raise consensus"
    for key in ("token", "consensus"):
        if values[key] > TIMEOUT_MAX_MS:
            yield key, f"{values[key]} ms with its coefficient; at most {TIMEOUT_MAX_MS} ms are allowed"
    if values["window_size"] + values["max_messages"] > SEQUENCE_WINDOW // 2:
        found = f"window_size {values['window_size']} and max_messages {values['max_messages']}"
        yield "window_size", f"{found} together exceed {SEQUENCE_WINDOW // 2}, half of the sequence numbers in use"


def _too_small(key: str, value: int, minimum: int, raw: Mapping[str, int]) -> str:
    if raw.get(key):
        return f"{value} ms is too short; at least {minimum} ms are allowed"
    return f"{value} ms, derived from token, is too short (at least {minimum} ms); raise token"


def doubts(values: Mapping[str, int], netmtu: int, node_count: int) -> Iterator[tuple[str, str]]:
    """What is allowed and still unwise: pairs of key and text."""
    if node_count > 2 and values["consensus"] < values["token"]:
        text = (
            f"{values['consensus']} ms is less than token ({values['token']} ms with its coefficient), "
            "which with three or more nodes leads to needless membership changes; leave it out or raise it"
        )
        yield "consensus", text
    if values["max_messages"] * netmtu > _MESSAGES_BYTES_MAX:
        limit = _MESSAGES_BYTES_MAX // netmtu
        yield "max_messages", f"{values['max_messages']} packets may overflow kernel buffers; {limit} are enough"


def parameters(
    values: Mapping[str, int], *, netmtu: int = 0, cancel_hold: bool = False, direct_token: bool = True
) -> TotemParameters:
    """The ring's parameters from a derived set; `netmtu` in bytes, 0 for the default."""
    return TotemParameters(
        token_timeout_s=values["token"] / 1000,
        token_retransmit_timeout_s=values["token_retransmit"] / 1000,
        token_hold_timeout_s=values["hold"] / 1000,
        token_retransmits_before_loss_const=values["token_retransmits_before_loss_const"],
        token_warning_percent=values["token_warning"],
        consensus_timeout_s=values["consensus"] / 1000,
        join_timeout_s=values["join"] / 1000,
        send_join_timeout_s=values["send_join"] / 1000,
        merge_timeout_s=values["merge"] / 1000,
        downcheck_timeout_s=values["downcheck"] / 1000,
        fail_recv_const_rotations=values["fail_recv_const"],
        seqno_unchanged_const_rotations=values["seqno_unchanged_const"],
        heartbeat_failures_allowed=values["heartbeat_failures_allowed"],
        max_network_delay_s=values["max_network_delay"] / 1000,
        window_size_packets=values["window_size"],
        max_messages_packets=values["max_messages"],
        miss_count_const_visits=values["miss_count_const"],
        netmtu_bytes=netmtu or NET_MTU_DEFAULT,
        cancel_token_hold_on_retransmit=cancel_hold,
        direct_token=direct_token,
    )
