"""corosync's own tools, unmodified, say the same of a totemd cluster as of a real one, byte for byte.

Two clusters of three nodes each are kept for the whole module. Every test runs the same commands on both, and compares
what they print and their exit statuses. MASKS lists every line that may differ, with the reason; anything else fails.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from totemd_lab.beside import SETTINGS, SUBJECT, Beside, Mask, difference, masked, tool, wait_ready
from totemd_lab.players import Stage
from totemd_lab.ring import Lab, LabMaker, wait_until
from totemd_lab.tools import Do, Run, Script, edit, leave_and_return, reload, restore, runs, transcript, watching

pytestmark = [pytest.mark.root, pytest.mark.corosync]

MASKS = [
    Mask(r"^Date: .*$", "Date:             NOW", "the time of the call"),
    Mask(r"(Ring ID: +\w+)\.[0-9a-f]+$", r"\1.SEQUENCE", "how many rings there were depends on who met whom first"),
    Mask(
        r"^(LINK ID 0 \n\taddr\t= 10\.78\.0\.)[23]$",
        r"\1OTHER",
        "the tool shows an address of any other node for transport udp: corosync answers with one of its stale ones",
    ),
]

LIST_MASKS = [
    *MASKS,
    Mask(r"^internal_configuration\.service\.[467]\..*\n", "", "the services pload, mon and wd are corosync's alone"),
    Mask(r"^runtime\.services\.(pload|mon|wd)\..*\n", "", "the same"),
    Mask(r"^(runtime\.services\.\w+\.\d\.[rt]x \(u64\)) = .*$", r"\1 = COUNT", "messages so far; depends on the past"),
    Mask(r"^(runtime\.members\.\d\.join_count \(u32\)) = .*$", r"\1 = COUNT", "depends on the past"),
    Mask(r"^resources\..*\n", "", "the same"),
    Mask(r"^totem\.interface\.0\.bindnetaddr .*\n", "", "corosync loses it when it reloads"),
    Mask(
        r"^runtime\.votequorum\.(atb_type|wait_for_all_status) .*\n",
        "",
        "corosync has them once a key of quorum. was written, totemd if the feature is in use",
    ),
    Mask(r"^(stats\.(srp|pg)\.\w+ \(\w+\)) = .*$", r"\1 = COUNT", "traffic so far"),
    Mask(r"^(stats\.ipcs\.global\.\w+ \(u64\)) = .*$", r"\1 = COUNT", "clients so far"),
    Mask(r"^(stats\.ipcs\.service\d)\.\d+\.0x[0-9a-f]+\.", r"\1.PID.POINTER.", "process id and address"),
    Mask(r"^(stats\.ipcs\.service.*(requests|responses|dispatched) \(u64\)) = .*$", r"\1 = COUNT", "clients' traffic"),
]


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """Both clusters."""
    with closing(Beside(tmp_path_factory.mktemp("beside"))) as both:
        yield both


@pytest.fixture
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the test, at the same path for both clusters."""
    return tmp_path_factory.mktemp("files")


QUORUMTOOL_STATUS = [
    "",
    "-s",
    "-sp",
    "-si",
    "-sH",
    "-sa",
    "-l",
    "-lp",
    "-li",
    "-la",
    "-lia",
    "-lH",
    "-lo a",
    "-lo n",
    "-lo i",
    "-lio a",
    "-lpo n",
    "-lpHo i",
    "-lo x",
    "-h",
    "-V",
    "-Z",
    "-f",
    "-e 1",
    "-e 0",
    "-e -1",
    "-e many",
    "-e 9",
    "-v 5 -n 9",
    "-n 2",
    "-n 9 -s",
]

CFGTOOL = [
    "",
    "-s",
    "-sb",
    "-b",
    "-s -i 10.78.0.1",
    "-s -i 10.78.0.9",
    "--status --brief",
    "-n",
    "--nodes",
    "-a 1",
    "-a 2",
    "-a 9",
    "-a one",
    "-L",
    "-k 9",
    "-k one",
    "-h",
    "-Z",
]


def on_two_nodes(tool: str, options: list[str]) -> Script:
    """All forms of a command that change nothing, on the node with the lowest id and on another."""
    return [step for node in (1, 2) for option in options for step in runs(f"{tool} {option}".strip(), node=node)]


VOTES: Script = [
    Run("corosync-quorumtool -v many"),
    Run("corosync-quorumtool -v 0", node=3),
    Run("corosync-quorumtool -s", until="^Total votes: +2$"),
    Run("corosync-quorumtool -v 0"),
    Run("corosync-quorumtool -v 1", node=3),
    Run("corosync-quorumtool -s", until="^Total votes: +3$"),
    Run("corosync-quorumtool -e 5"),
    *[Run("corosync-quorumtool -s", node, until="^Expected votes: +5$") for node in (1, 2)],
    Run("corosync-quorumtool -e 6"),
    Run("corosync-quorumtool -e 3", node=2),
    *[Run("corosync-quorumtool -s", node, until="^Expected votes: +3$") for node in (1, 3)],
    Run("corosync-quorumtool -v 2 -n 2"),
    *[Run("corosync-quorumtool -s", node, until="^Total votes: +4$") for node in (1, 2, 3)],
    Run("corosync-quorumtool -lp"),
    Run("corosync-quorumtool -v 2", node=3),
    Run("corosync-quorumtool -s", until="^Total votes: +5$"),
    Run("corosync-quorumtool -v 1", node=3),
    Run("corosync-quorumtool -s", until="^Total votes: +4$"),
    Run("corosync-quorumtool -v 1 -n 2"),
    *[Run("corosync-quorumtool -s", node, until="^Total votes: +3$") for node in (1, 2, 3)],
    Run("corosync-quorumtool -e 3"),
    *[Run("corosync-quorumtool -s", node, until="^Expected votes: +3$") for node in (1, 2, 3)],
]


def down(nodeid: int) -> Do:
    """A node leaves."""

    def leave(lab: Lab) -> None:
        lab.node(nodeid).terminate()
        lab.wait_formed()

    return Do(leave)


def up(nodeid: int) -> Do:
    """It returns."""

    def come(lab: Lab) -> None:
        lab.start([lab.node(nodeid)])
        wait_ready(lab)

    return Do(come)


MEMBERS = [
    "corosync-quorumtool -s",
    "corosync-quorumtool -l",
    "corosync-cfgtool -s",
    "corosync-cfgtool -sb",
    "corosync-cfgtool -n",
    "corosync-cfgtool -a 3",
    "corosync-cfgtool -k 3",
    "corosync-cmapctl -g runtime.members.3.status runtime.members.3.ip",
    "corosync-cmapctl -g runtime.votequorum.highest_node_id",
]
WITHOUT_A_NODE: Script = [
    down(3),
    *runs(*MEMBERS, "corosync-quorumtool -e 2"),
    Run("corosync-quorumtool -s", 2, until="^Expected votes: +2$"),
    up(3),
    *runs(*[command for command in MEMBERS if "-k" not in command]),
]
WITHOUT_QUORUM: Script = [
    down(3),
    down(2),
    *runs(*MEMBERS, "corosync-quorumtool -lp", "corosync-quorumtool -e 2", "corosync-quorumtool -v 3"),
    *runs("corosync-quorumtool -v 1", "corosync-quorumtool -s"),
    up(2),
    up(3),
    Run("corosync-quorumtool -s"),
    Run("corosync-quorumtool -v 1"),
    Run("corosync-quorumtool -s", until="^Total votes: +3$"),
    Run("corosync-quorumtool -e 3"),
    *[Run("corosync-quorumtool -s", node, until="^Expected votes: +3$") for node in (1, 2, 3)],
]

KILL_AND_SHUTDOWN: Script = [
    Run("corosync-cfgtool -k 3"),
    Do(lambda lab: _ended(lab, 3)),
    Run("corosync-quorumtool -s"),
    up(3),
    Run("corosync-cfgtool -H", node=2),
    Do(lambda lab: _ended(lab, 2)),
    Run("corosync-cfgtool -s", node=2),
    Run("corosync-quorumtool -s", node=2),
    Run("corosync-cmapctl", node=2),
    Run("corosync-cpgtool", node=2),
    Run("corosync-quorumtool -s", node=1),
    up(2),
    Run("corosync-cfgtool -H --force", node=3),
    Do(lambda lab: _ended(lab, 3)),
    up(3),
]


def _ended(lab: Lab, nodeid: int) -> None:
    lab.node(nodeid).wait_end(10)
    lab.wait_formed()


RELOAD: Script = [
    edit("^( *)version: 2$", r"\1version: 2\n\1config_version: 4"),
    edit("^( *)token: 800$", r"\1token: 900"),
    edit("^( *)cluster_name: lab$", r"\1cluster_name: other"),
    edit("^( *)to_syslog: no$", r"\1to_syslog: no\n\1debug: off"),
    *reload(),
    Run("corosync-cmapctl totem. logging. config. quorum. nodelist. runtime.config.totem."),
    Run("corosync-cmapctl totem. logging. config. quorum. nodelist.", 2, until="config_version .u64. = 4"),
    Run("corosync-cmapctl -g runtime.members.2.config_version", until="= 4"),
    Run("corosync-quorumtool -s"),
    edit(r"(?s)(name: n3\n)", r"\1        quorum_votes: 2\n"),
    *reload(2),
    *[Run("corosync-quorumtool -s", node, until="^Total votes: +4$") for node in (1, 2, 3)],
    Run("corosync-cmapctl nodelist."),
    restore(),
    *reload(),
    *[Run("corosync-quorumtool -s", node, until="^Total votes: +3$") for node in (1, 2, 3)],
    Run("corosync-cmapctl totem. logging. config. quorum. nodelist. runtime.config.totem."),
    Run("corosync-quorumtool -e 3"),
    *[Run("corosync-quorumtool -s", node, until="^Expected votes: +3$") for node in (1, 2, 3)],
]

BAD_RELOAD: Script = [
    edit("^totem {$", "totem {\n    broken"),
    *reload(),
    Run("corosync-quorumtool -s"),
    Run("corosync-cmapctl config. totem."),
    restore(),
    edit("^( *)token: 800$", r"\1token: soon"),
    *reload(),
    restore(),
    edit("^( *)token: 800$", r"\1token: 5"),
    *reload(),
    restore(),
    edit("^( *)nodeid: 2$", r"\1nodeid: 1"),
    *reload(),
    restore(),
    edit("^ *provider: corosync_votequorum$", "    provider: corosync_votequorum\n    expected_votes: many"),
    *reload(),
    restore(),
    *reload(),
    Run("corosync-cmapctl config. totem. runtime.config.totem."),
    Run("corosync-quorumtool -s"),
]
RELOAD_MASKS = [
    *MASKS,
    Mask(r"^totem\.interface\.0\.bindnetaddr .*\n", "", "corosync loses it when it reloads"),
    Mask(
        r"^(runtime\.config\.totem\.interface\.0\.knet_ping_(?:interval|timeout) \(u32\)) = .*$",
        r"\1 = MS",
        "computed of the token timeout; corosync computes it of the one before the reload",
    ),
    Mask(r"^config\.reload_error_message .*\n", "", "from corosync 3.1.8 on there is this key after a failure"),
    Mask(r"^(config\.reload_status \(i32\)) = [17]$", r"\1 = CODE", "corosync keeps the last one if it cannot parse"),
    Mask(
        r"^config\.totemconfig_reload_in_progress \(u8\) = [01]$",
        "config.totemconfig_reload_in_progress (u8) = FLAG",
        "after a file that cannot be parsed corosync leaves it at 1",
    ),
]


@pytest.mark.parametrize(
    ("script", "masks"),
    [
        pytest.param(on_two_nodes("corosync-quorumtool", QUORUMTOOL_STATUS), MASKS, id="quorumtool"),
        pytest.param(on_two_nodes("corosync-cfgtool", CFGTOOL), MASKS, id="cfgtool"),
        pytest.param(VOTES, MASKS, id="votes"),
        pytest.param(RELOAD, RELOAD_MASKS, id="reload"),
        pytest.param(BAD_RELOAD, RELOAD_MASKS, id="bad-reload"),
        pytest.param(WITHOUT_A_NODE, MASKS, id="without-a-node"),
        pytest.param(WITHOUT_QUORUM, MASKS, id="without-quorum"),
        pytest.param(KILL_AND_SHUTDOWN, MASKS, id="kill-and-shutdown"),
    ],
)
def test_same_output(beside: Beside, script: Script, masks: list[Mask]) -> None:
    beside.compare(lambda lab: transcript(lab, script), masks)


TYPES = {
    "i8": ["-128", "127", "128", "-129", "x", "", "0x10"],
    "u8": ["0", "255", "256", "-1", "1.5"],
    "i16": ["-32768", "32767", "32768"],
    "u16": ["65535", "65536"],
    "i32": ["-2147483648", "2147483647", "2147483648"],
    "u32": ["4294967295", "4294967296"],
    "i64": ["-9223372036854775808", "9223372036854775807", "9223372036854775808"],
    "u64": ["18446744073709551615", "18446744073709551616"],
    "flt": ["1.5", "-0.1", "1e30", "nan", "x"],
    "dbl": ["1.5", "-0.1", "1e300", "x"],
    "str": ["''", "text", "'two words'", "gr\u00fc\u00dfe"],
}
CMAP_TYPES = [
    line
    for name, values in TYPES.items()
    for value in values
    for line in (f"corosync-cmapctl -s t.{name} {name} {value or repr('')}", f"corosync-cmapctl -g t.{name}")
]
CMAP_SET = [
    "corosync-cmapctl t.",
    "corosync-cmapctl -b t.",
    "corosync-cmapctl -s t.u8 str changed",
    "corosync-cmapctl -g t.u8 t.i16 t.none t.i8",
    "corosync-cmapctl -q -g t.u8",
    "corosync-cmapctl -q -g t.none",
    "corosync-cmapctl -s t.x unknown 1",
    "corosync-cmapctl -s t.x u8",
    "corosync-cmapctl -s t.x",
    "corosync-cmapctl -s",
    "corosync-cmapctl -s 'bad key' u8 1",
    "corosync-cmapctl -s ab u8 1",
    "corosync-cmapctl -s abc u8 1",
    "corosync-cmapctl -g 'bad key' ab",
    "corosync-cmapctl -d abc abc 'bad key'",
    f"corosync-cmapctl -s {'k' * 255} u8 1",
    f"corosync-cmapctl -g {'k' * 255}",
    f"corosync-cmapctl -d {'k' * 255}",
    f"corosync-cmapctl -s {'k' * 256} u8 1",
    f"corosync-cmapctl -s t.long str {'v' * 16000}",
    "corosync-cmapctl -g t.long",
    f"corosync-cmapctl -s t.toolong str {'v' * 17000}",
    "corosync-cmapctl -d t.none",
    "corosync-cmapctl -d t.long t.i8",
    "corosync-cmapctl -D t.i t.none",
    "corosync-cmapctl t.",
    "corosync-cmapctl -D t.",
    "corosync-cmapctl t.",
]
CMAP_READ_ONLY = [
    f"corosync-cmapctl {command}"
    for key in (
        "totem.version u32 3",
        "totem.transport str knet",
        "totem.cluster_name str x",
        "nodelist.node.0.name str x",
        "nodelist.local_node_pos u32 3",
        "nodelist.node.7.nodeid u32 3",
        "system.state_dir str x",
        "internal_configuration.service.0.ver u32 1",
        "runtime.services.cfg.0.rx u64 1",
        "runtime.config.totem.token u32 1",
        "runtime.totem.x u32 1",
        "uidgid.config.uid.5 u8 1",
        "config.reload_in_progress u8 1",
        "config.totemconfig_reload_in_progress u8 1",
        "quorum.wait_for_all u8 1",
        "quorum.last_man_standing u8 1",
        "quorum.auto_tie_breaker u8 1",
        "quorum.allow_downscale u8 1",
        "quorum.expected_votes_tracking u8 1",
        "totem.nodeid u32 5",
        "totem.keyfile str x",
    )
    for command in (f"-s {key}", f"-d {key.split()[0]}")
]
CMAP_WRITABLE = [
    "corosync-cmapctl -s totem.token u32 950",
    "corosync-cmapctl -g totem.token runtime.config.totem.token runtime.config.totem.consensus",
    "corosync-cmapctl -s totem.token u32 800",
    "corosync-cmapctl -g totem.token runtime.config.totem.token runtime.config.totem.consensus",
    "corosync-cmapctl -s uidgid.uid.1000 u8 1",
    "corosync-cmapctl -g uidgid.uid.1000",
    "corosync-cmapctl -d uidgid.uid.1000",
    "corosync-cmapctl -s runtime.blackbox.dump_state str x",
    "corosync-cmapctl -s logging.debug str on",
    "corosync-cmapctl -s logging.debug str off",
    "corosync-cmapctl -d logging.debug",
    "corosync-cmapctl -s runtime.votequorum.two_node u8 0",
    "corosync-cmapctl -s quorum.cancel_wait_for_all u8 1",
    "corosync-cmapctl -g quorum.cancel_wait_for_all",
    "corosync-cmapctl -d quorum.cancel_wait_for_all",
]
CMAP_STATS = [
    "corosync-cmapctl -m stats -s stats.srp.mcast_tx u64 1",
    "corosync-cmapctl -m stats -d stats.srp.mcast_tx",
    "corosync-cmapctl -m stats -g stats.none",
    "corosync-cmapctl -m stats -g stats.srp.gather_token_lost",
    "corosync-cmapctl -m stats stats.pg.",
    "corosync-cmapctl -m stats stats.srp.",
    "corosync-cmapctl -m stats stats.",
    "corosync-cmapctl -m stats",
    "corosync-cmapctl -m icmap -g totem.version",
    "corosync-cmapctl -m other",
    "corosync-cmapctl -C totem",
    "corosync-cmapctl -C knet",
    "corosync-cmapctl -C ipc",
    "corosync-cmapctl -C schedmiss",
    "corosync-cmapctl -C all",
    "corosync-cmapctl -C other",
    "corosync-cmapctl -C",
    "corosync-cmapctl -h",
    "corosync-cmapctl -Z",
]


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(CMAP_TYPES + CMAP_SET, id="set"),
        pytest.param(CMAP_READ_ONLY, id="read-only"),
        pytest.param(CMAP_WRITABLE, id="writable"),
        pytest.param(CMAP_STATS, id="stats"),
        pytest.param(["corosync-cmapctl", "corosync-cmapctl -b", "corosync-cmapctl totem"], id="list"),
    ],
)
def test_same_cmap(beside: Beside, commands: list[str]) -> None:
    beside.compare(lambda lab: transcript(lab, runs(*commands)), LIST_MASKS)


def test_same_list_on_every_node(beside: Beside) -> None:
    script = [step for node in (1, 2, 3) for step in runs("corosync-cmapctl", node=node)]
    beside.compare(lambda lab: transcript(lab, script), LIST_MASKS)


SETTINGS_FILE = """\
# a comment
f.text str some words
f.number u16 7
f.gone u8 1
^f.gone
^^runtime.none.
f.bad u8 900
f.type kind 1
totem.version u32 3

f.after i32 -3
"""


def test_same_settings_from_a_file(beside: Beside, files: Path) -> None:
    path = files / "settings"
    path.write_text(SETTINGS_FILE)
    binary = files / "binary"
    binary.write_bytes(bytes(range(256)))
    commands = [
        f"corosync-cmapctl -p {path}",
        "corosync-cmapctl f.",
        f"corosync-cmapctl -s f.bin bin {binary}",
        f"corosync-cmapctl -s f.bin2 bin {files}/none",
        "corosync-cmapctl -g f.bin",
        "corosync-cmapctl -b -g f.bin",
        "corosync-cmapctl -b f.",
        f"corosync-cmapctl -p {files}/none",
        "corosync-cmapctl -D f.",
    ]
    beside.compare(lambda lab: transcript(lab, runs(*commands)), LIST_MASKS)


@pytest.mark.parametrize("option", ["-t w.key", "-T w.", "-b -T w", "-T ''"])
def test_same_changes_are_tracked(beside: Beside, files: Path, option: str) -> None:
    changes = [
        "-s w.key u8 1",
        "-s w.key u8 1",
        "-s w.key u8 2",
        "-s w.key str text",
        "-s w.key.more str text",
        "-s w.other i64 -1",
        "-d w.key",
        "-D w.",
        "-s w.key u8 9",
        "-D w.",
    ]

    def script(lab: Lab) -> str:
        watch = watching(lab.node(1), f"corosync-cmapctl {option}", files)
        watch.wait_for("finish$")
        text = transcript(lab, runs(*[f"corosync-cmapctl {change}" for change in changes]))
        watch.wait_for("^delete> w.key .*9$")
        watch.say("q")
        return f"{text}\nstatus {watch.wait()}\n{watch.text()}"

    beside.compare(script, MASKS)


def test_same_changes_of_members_are_tracked(beside: Beside, files: Path) -> None:
    def script(lab: Lab) -> str:
        watch = watching(lab.node(1), "corosync-cmapctl -T runtime.members.", files)
        watch.wait_for("finish$")
        leave_and_return(lab, 3, lambda: watch.wait_for("3.status.*left"), lambda: watch.wait_for("3.status.*joined"))
        watch.say("q")
        watch.wait()
        return re.sub(r"join_count \(u32\) = \d+", "join_count (u32) = COUNT", watch.text())

    beside.compare(script, LIST_MASKS)


def test_same_monitor(beside: Beside, files: Path) -> None:
    def script(lab: Lab) -> str:
        watch = watching(lab.node(1), "corosync-quorumtool -m", files)
        watch.wait_for("3 +1 n3")
        leave_and_return(lab, 3, lambda: watch.wait_for("2 +1 n2\n"), lambda: watch.wait_for("3 +1 n3"))
        watch.kill()
        return watch.text()

    beside.compare(script, MASKS)


@pytest.mark.parametrize("options", ["", "-n", "-d :", "-e", "-ne", "-d ', ' -e", "-d", "-h", "-Z"])
def test_same_groups(beside: Beside, programs: Path, files: Path, options: str) -> None:
    groups = {
        "A": (1, "plain"),
        "B": (2, "plain"),
        "C": (3, "zero%00"),
        "D": (1, "back%5cslash%c3%bc%0a"),
        "E": (1, "plain"),
    }

    def script(lab: Lab) -> str:
        with closing(Stage(lab, programs, files)) as stage:
            for name, (node, group) in groups.items():
                player = stage.player(name, "cpg", node)
                player.call("open 0")
                player.call(f"join 0 {group}")
                player.event("members 0")
            # The last join has to be known everywhere.
            assert wait_until(lambda: tool(lab.node(2), ["corosync-cpgtool"]).out.count("(10.78.") == len(groups), 10)
            text = transcript(lab, [*runs(f"corosync-cpgtool {options}"), *runs("corosync-cpgtool", node=2)])
            return stage.anonymous(text)

    beside.compare(script, GROUP_MASKS)


GROUP_MASKS = [*MASKS, Mask(r"^\t *PID_(\w)", r"\tPID_\1", "process ids are right-aligned")]

QUORUM_SETTINGS = [
    {"two_node": "1"},
    {"two_node": "1", "wait_for_all": "0"},
    {"wait_for_all": "1"},
    {"auto_tie_breaker": "1"},
    {"auto_tie_breaker": "1", "auto_tie_breaker_node": "highest", "wait_for_all": "1"},
    {"last_man_standing": "1", "allow_downscale": "1"},
    {"expected_votes": "5"},
]


@pytest.mark.parametrize("quorum", QUORUM_SETTINGS, ids=lambda quorum: "-".join(quorum))
def test_same_quorum_of_two(make_lab: LabMaker, quorum: dict[str, str]) -> None:
    """Status and keys with the settings of votequorum(5): both nodes, one, both again."""
    commands = ["corosync-quorumtool -s", "corosync-quorumtool -lp", "corosync-cmapctl runtime.votequorum. quorum."]
    texts = []
    for kind in ("C", SUBJECT):
        lab = make_lab(kind * 2, replace(SETTINGS, quorum=quorum))
        lab.start()
        lab.wait_formed()
        served = [Run("corosync-quorumtool -s", node, until="^Total votes: +2$") for node in (1, 2)]
        alone = [Run("corosync-quorumtool -s", until="^Total votes: +1$")]
        script = [*served, *runs(*commands), down(2), *alone, *runs(*commands), _start(2), *served, *runs(*commands)]
        texts.append(masked(transcript(lab, script), MASKS))
        lab.close()
    assert not difference(texts[0], texts[1])


def _start(nodeid: int) -> Do:
    def come(lab: Lab) -> None:
        lab.start([lab.node(nodeid)])
        lab.wait_formed()

    return Do(come)


NOTIFYD_MASKS = [
    Mask(r"0x[0-9a-f]+\.\d+\.", "CLIENT.", "address and process id"),
]


@pytest.mark.skipif(shutil.which("corosync-notifyd") is None, reason="needs Debian's corosync-notifyd")
def test_same_notifications(beside: Beside, files: Path) -> None:
    def script(lab: Lab) -> str:
        watch = watching(lab.node(1), "corosync-notifyd -f -o -n", files)
        watch.wait_for("quorate")
        tool(lab.node(1), ["corosync-cfgtool", "-s"])
        for _ in range(2):
            watch.wait_for("cfgtoo is now disconnected")
        leave_and_return(lab, 3, lambda: watch.wait_for("left"), lambda: watch.wait_for("ip:.*joined"))
        lab.node(3).terminate()
        lab.wait_formed()
        lab.node(2).terminate()
        watch.wait_for("lost quorum")
        lab.start([lab.node(2)])
        watch.wait_for("is now quorate")
        wait_ready(lab)
        lab.start([lab.node(3)])
        watch.wait_for("10.78.0.3 joined")
        wait_ready(lab)
        watch.kill()
        # The lab itself connects while it waits, so clients' lines are compared of one program alone.
        lines = re.findall(r"^.*\[(?:notice|error)\].*\n", watch.text(), re.MULTILINE)
        clients = sorted(line for line in lines if "cfgtoo" in line)
        others = [line for line in lines if "onnected" not in line]
        # They come from two sockets, and which of them notifyd reads first is the machine's affair.
        others.sort(key=lambda line: " ip:" in line)
        return "".join(others + clients)

    beside.compare(script, NOTIFYD_MASKS)
