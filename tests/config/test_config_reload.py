"""A file read again: what takes effect, what waits, what is refused."""

from collections.abc import Callable

import pytest

from totemd.config import Configuration, ReloadPlan, compare
from totemd.config.reload import takes_effect

Load = Callable[..., Configuration]
Conf = Callable[..., str]
TOTEM = "transport: udp\ncluster_name: test"


@pytest.mark.parametrize(
    ("key", "effective"),
    [
        ("totem.token", True),
        ("totem.transport", False),
        ("totem.cluster_name", False),
        ("totem.config_version", True),
        ("totem.netmtu", False),
        ("totem.interface.0.mcastport", False),
        ("nodelist.node.12.name", True),
        ("nodelist.node.12.ring0_addr", True),
        ("quorum.expected_votes", True),
        ("quorum.two_node", True),
        ("quorum.wait_for_all", False),
        ("quorum.auto_tie_breaker", False),
        ("quorum.provider", False),
        ("logging.logger_subsys.CPG.debug", True),
        ("logging.debug", True),
        ("system.state_dir", False),
        ("uidgid.config.uid.5", True),
        ("somebody.elses.key", True),
    ],
)
def test_which_keys_take_effect(key: str, effective: bool) -> None:
    assert takes_effect(key) is effective


def test_nothing_changed(load_conf: Load, conf: Conf) -> None:
    plan = compare(load_conf(conf()), load_conf(conf()))
    assert plan.accepted
    assert (plan.effective, plan.kept, plan.added, plan.removed, plan.warnings) == ((), (), (), (), ())
    assert plan.configuration == load_conf(conf())


def test_timeouts_and_log_level_take_effect(load_conf: Load, conf: Conf) -> None:
    new = load_conf(conf(totem=f"{TOTEM}\ntoken: 5000", rest="logging {\ndebug: on\n}"))
    plan = compare(load_conf(conf()), new)
    assert plan.accepted
    assert [str(change) for change in plan.effective] == [
        "logging.debug: (default) -> on",
        "runtime.config.totem.consensus: 4380 -> 6780",
        "runtime.config.totem.hold: 685 -> 1066",
        "runtime.config.totem.token: 3650 -> 5650",
        "runtime.config.totem.token_retransmit: 869 -> 1345",
        "totem.token: (default) -> 5000",
    ]
    assert plan.configuration.totem.token_timeout_s == 5.65
    assert plan.configuration.logging.level == "debug"


def test_what_is_read_at_start_only_is_kept(load_conf: Load, conf: Conf) -> None:
    new = load_conf(
        conf(
            totem="transport: udpu\ncluster_name: other\nnetmtu: 9000\nblock_unlisted_ips: no",
            interface="mcastport: 6000",
            rest="system {\nstate_dir: /new\n}",
        )
    )
    old = load_conf(conf())
    plan = compare(old, new)
    assert plan.accepted
    kept = {change.key for change in plan.kept}
    assert kept == {
        "totem.transport",
        "totem.cluster_name",
        "totem.netmtu",
        "totem.interface.0.mcastport",
        "totem.interface.0.mcastaddr",
        "system.state_dir",
    }
    now = plan.configuration
    assert (now.cluster_name, now.system, now.totem.netmtu_bytes) == ("test", old.system, 1500)
    assert (now.transport.kind, now.transport.port) == (old.transport.kind, 5405)
    assert not now.transport.block_unlisted_ips
    assert now.entries["totem.transport"] == old.entries["totem.transport"]
    assert "system.state_dir" not in now.entries
    (transport,) = [warning for warning in plan.warnings if warning.key == "totem.transport"]
    assert transport.line == 3
    assert "udp stays in force" in transport.text


def test_nodes_come_and_go(load_conf: Load, conf: Conf) -> None:
    plan = compare(load_conf(conf(count=3)), load_conf(conf(count=4)))
    assert plan.accepted
    assert [node.nodeid for node in plan.added] == [4]
    assert plan.configuration.quorum.expected_votes == 4
    assert plan.configuration.totem.token_timeout_s == 4.3
    plan = compare(load_conf(conf(count=4)), load_conf(conf(count=2)))
    assert [node.nodeid for node in plan.removed] == [3, 4]


def test_an_address_may_be_written_differently_but_not_change(load_conf: Load, conf: Conf) -> None:
    text = conf(count=2)
    old = load_conf(text)
    assert compare(old, load_conf(text.replace("10.0.0.2", "beta"))).accepted
    plan = compare(old, load_conf(text.replace("10.0.0.2", "10.0.0.9")))
    assert not plan.accepted
    (error,) = plan.errors
    assert error.key == "nodelist.node.1.ring0_addr"
    assert text.split("\n")[error.line - 1] == "ring0_addr: 10.0.0.2"
    assert "10.0.0.2 and now has 10.0.0.9" in error.text


def test_the_local_node_keeps_its_id(load_conf: Load, conf: Conf) -> None:
    text = conf(count=2)
    plan = compare(load_conf(text), load_conf(text.replace("nodeid: 1", "nodeid: 7")))
    assert [error.key for error in plan.errors] == ["nodelist.node.0.nodeid"]


def test_votes_change_at_run_time(load_conf: Load, conf: Conf) -> None:
    text = conf(count=2, quorum="provider: corosync_votequorum\ntwo_node: 1")
    plan = compare(load_conf(conf(count=2)), load_conf(text.replace("name: n1", "name: n1\nquorum_votes: 3")))
    assert plan.accepted
    quorum = plan.configuration.quorum
    assert (quorum.votes, quorum.expected_votes, quorum.two_node, quorum.wait_for_all) == (3, 4, True, True)


def _quorum_change(load_conf: Load, conf: Conf, old: str, new: str, counts: tuple[int, int] = (2, 2)) -> ReloadPlan:
    first, second = (
        load_conf(conf(count=count, quorum=f"provider: corosync_votequorum\n{text}"))
        for count, text in zip(counts, (old, new), strict=True)
    )
    return compare(first, second)


def test_a_kept_tie_breaker_still_excludes_two_node(load_conf: Load, conf: Conf) -> None:
    plan = _quorum_change(load_conf, conf, "auto_tie_breaker: 1", "two_node: 1")
    assert [change.key for change in plan.kept] == ["quorum.auto_tie_breaker"]
    quorum = plan.configuration.quorum
    assert quorum.tie_breaker.name == "LOWEST"
    assert not quorum.two_node
    assert {"quorum.auto_tie_breaker", "quorum.two_node"} == {warning.key for warning in plan.warnings}


def test_a_new_tie_breaker_waits_and_two_node_goes_on(load_conf: Load, conf: Conf) -> None:
    plan = _quorum_change(load_conf, conf, "two_node: 1", "two_node: 1\nauto_tie_breaker: 1")
    assert plan.configuration.quorum.two_node
    assert plan.configuration.quorum.tie_breaker.name == "NONE"


def test_kept_options_that_contradict_the_new_nodelist_refuse_the_reload(load_conf: Load, conf: Conf) -> None:
    options = "auto_tie_breaker: 1\nlast_man_standing: 1"
    plan = _quorum_change(load_conf, conf, options, f"{options}\nwait_for_all: 1", (2, 3))
    assert [error.key for error in plan.errors] == ["quorum.auto_tie_breaker"]


def test_an_older_version_is_a_warning(load_conf: Load, conf: Conf) -> None:
    old = load_conf(conf(totem=f"{TOTEM}\nconfig_version: 5"))
    plan = compare(old, load_conf(conf(totem=f"{TOTEM}\nconfig_version: 4")))
    assert plan.configuration.config_version == 4
    assert [warning.key for warning in plan.warnings] == ["totem.config_version"]
