"""pacemaker, unmodified, runs on totemd nodes alone and on totemd beside corosync."""

from contextlib import ExitStack, closing

import pytest

from totemd_lab.beside import tool, wait_ready
from totemd_lab.configuration import RingSettings
from totemd_lab.pacemaker import INSTALLED, Pacemaker
from totemd_lab.ring import LabMaker, wait_until
from totemd_lab.upstream import again_when_a_real_node_aborts

pytestmark = [
    pytest.mark.root,
    pytest.mark.corosync,
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="needs Debian's pacemaker and pacemaker-cli-utils"),
]


@pytest.mark.parametrize("kinds", ["TT", "TC"])
@again_when_a_real_node_aborts
def test_pacemaker_forms_its_cluster(make_lab: LabMaker, kinds: str) -> None:
    lab = make_lab(kinds, RingSettings(token_ms=1000, token_coefficient_ms=0))
    lab.start()
    wait_ready(lab)
    with ExitStack() as stack:
        one, two = managers = [stack.enter_context(closing(Pacemaker(node))) for node in lab.nodes]
        formed = wait_until(lambda: all(manager.online() == ["n1", "n2"] for manager in managers), 60, 0.5)
        assert formed, one.command("crm_mon", "-1") + one.log.read_text()[-3000:] + lab.describe()
        assert all(manager.has_quorum() for manager in managers)

        one.command("attrd_updater", "-n", "probe", "-U", "5")
        query = ("attrd_updater", "-Q", "-n", "probe", "-A")
        assert wait_until(lambda: 'host="n1" value="5"' in two.command(*query), 10), two.command(*query)

        vetoed = tool(lab.node(1), ["corosync-cfgtool", "-H"])
        assert "Could not shutdown (error = 10)" in vetoed.err
        assert lab.node(1).running()

        lab.node(2).kill()
        lost = wait_until(lambda: one.online() == ["n1"] and not one.has_quorum(), 30, 0.5)
        assert lost, one.command("crm_mon", "-1")
        assert one.stop() == 0
    assert lab.node(1).terminate() == 0
