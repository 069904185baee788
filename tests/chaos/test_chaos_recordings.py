"""Recordings become the history that their lines tell, and checkers see in it what is wrong."""

from pathlib import Path

from totemd.sim.checkers import check_all
from totemd.sim.history import Accepted, Calm, Configured, Delivered, End, Ended, History, Limits, Synchronized
from totemd_chaos.recordings import Recordings, read_recordings
from totemd_chaos.ring import DaemonRun

ONE = """\
10.000000 L 7 7 1 aa
10.010000 N regular 1.8 1,2 1,2 -
10.020000 Q 1 1.8 1,2
10.030000 G 1:7,2:9 1:7:join -
10.040000 G 1:7,2:9 2:9:join -
10.050000 A 0 1
10.060000 K 0
10.070000 D 1 7 7 0 1 100 0000000a
10.080000 D 2 9 9 0 0 50 0000000b
"""
TWO = """\
10.000500 L 9 9 2 bb
10.010500 N regular 1.8 1,2 1,2 -
10.020500 Q 1 1.8 1,2
10.040500 G 1:7,2:9 2:9:join -
10.050500 A 0 0
10.051500 R 0
10.052500 A 0 0
10.070500 D 1 7 7 0 1 100 0000000a
10.080500 D 2 9 9 0 0 50 0000000b
10.080600 K 0
"""
ONE = ONE.replace("10.030000 G 1:7,2:9 1:7:join", "10.030000 G 1:7 1:7:join")


def recordings(
    directory: Path, *texts: str, kinds: str = "TT", runs: tuple[DaemonRun, ...] = (), real: bool = False
) -> Recordings:
    paths = []
    for number, text in enumerate(texts):
        path = directory / f"recording{number}"
        path.write_text(text)
        paths.append(path)
    return read_recordings(paths, kinds, runs, real_configurations=real)


def judged(history: History) -> set[str]:
    calm = Calm(10.045, (1, 2))
    events = sorted([*history, calm], key=lambda event: event.time)
    return {violation.property for violation in check_all(events, Limits(settle_s=30.0))}


def test_a_good_recording_has_no_violation(tmp_path: Path) -> None:
    found = recordings(tmp_path, ONE, TWO)
    assert found.cuts == []
    assert judged(found.events) == set()
    accepted = [event for event in found.events if isinstance(event, Accepted)]
    assert [(event.message, event.safe) for event in accepted] == [((7, 0), True), ((9, 0), False)]
    assert sum(isinstance(event, Synchronized) for event in found.events) == 2


def test_checkers_find_what_is_wrong_in_a_recording(tmp_path: Path) -> None:
    lines = TWO.splitlines(keepends=True)
    swapped = "".join([*lines[:7], lines[8].replace("10.080500", "10.070400"), lines[7], lines[9]])
    assert "agreed order" in judged(recordings(tmp_path, ONE, swapped).events)
    assert "all delivered" in judged(recordings(tmp_path, ONE, "".join(lines[:8] + lines[9:])).events)
    assert "integrity" in judged(recordings(tmp_path, ONE, TWO.replace("0000000a", "0000000c")).events)
    assert "one ring" in judged(recordings(tmp_path, ONE, TWO.replace("1.8 1,2 1,2", "2.8 2 2")).events)


def test_an_unanswered_message_of_a_killed_daemon_counts_as_accepted(tmp_path: Path) -> None:
    text = ONE.replace("10.060000 K 0\n", "") + "10.090000 X gone\n10.200000 L 8 8 1 cc\n"
    run = DaemonRun(1, "T", 4, 1.0, ended=10.1, status=-9, asked={9})
    events = recordings(tmp_path, text, runs=(run,)).events
    assert [event.message for event in events if isinstance(event, Accepted)] == [(7, 0)]
    (end,) = (event for event in events if isinstance(event, Ended))
    assert (end.life, end.how) == (7, End.CRASH)


def test_a_recorder_that_is_cut_off_is_reported_and_begins_a_life_without_ring(tmp_path: Path) -> None:
    text = ONE + "10.090000 X not read\n10.100000 L 8 8 1 aa\n10.110000 N regular 1.8 1,2 1,2 -\n"
    found = recordings(tmp_path, text)
    assert len(found.cuts) == 1
    assert "not read" in found.cuts[0]
    assert [event.life for event in found.events if isinstance(event, Configured)] == [7]


def test_real_nodes_configurations_are_given_on_demand(tmp_path: Path) -> None:
    text = "10.0 L 7 7 1 -\n10.1 C regular 1.8 1,2 - -\n10.2 D 2 9 9 0 0 50 0000000b\n"
    plain = recordings(tmp_path, text, kinds="C").events
    assert [type(event) for event in plain] == [Delivered]
    wanted = recordings(tmp_path, text, kinds="C", real=True).events
    assert [type(event) for event in wanted] == [Configured, Synchronized, Delivered]


def test_a_real_node_may_be_all_that_links_two_quorate_rings(tmp_path: Path) -> None:
    left_behind = "10.0 L 7 7 1 aa\n10.1 C regular 1.8 1,2 2 -\n10.2 Q 1 1.8 1,2\n"
    real = "10.0 L 8 8 2 -\n10.1 C regular 1.8 1,2 - -\n10.5 C regular 2.12 2,3 - -\n"
    ahead = "10.0 L 9 9 3 cc\n10.5 C regular 2.12 2,3 2 -\n10.6 Q 1 2.12 2,3\n"
    texts = left_behind, real, ahead
    assert "one quorate" in judged(recordings(tmp_path, *texts, kinds="TCT").events)
    assert "one quorate" not in judged(recordings(tmp_path, *texts, kinds="TCT", real=True).events)
    unlinked = left_behind, real.replace("1.8", "1.4"), ahead
    assert "one quorate" in judged(recordings(tmp_path, *unlinked, kinds="TCT", real=True).events)


def test_half_a_line_at_the_end_is_not_read(tmp_path: Path) -> None:
    assert len(recordings(tmp_path, ONE + "10.09 D 2 9").events) == len(recordings(tmp_path, ONE).events)


def test_a_real_nodes_first_configuration_stands_before_the_own_join(tmp_path: Path) -> None:
    text = (
        "10.0 L 7 7 1 -\n10.1 G 1:7 1:7:join -\n10.2 C regular 1.8 1,2 - -\n10.3 D 1 7 7 0 0 50 0000000b\n"
        "10.4 X gone\n10.5 L 8 8 1 -\n10.6 G 1:8 1:8:join -\n10.7 X gone\n"
    )
    events = recordings(tmp_path, text, kinds="C", real=True).events
    assert [(type(event).__name__, event.time) for event in events] == [
        ("Configured", 10.1),
        ("Synchronized", 10.1),
        ("GroupChanged", 10.1),
        ("Delivered", 10.3),
        ("Ended", 10.4),
        ("GroupChanged", 10.6),
        ("Ended", 10.7),
    ]
