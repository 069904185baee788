#!/usr/bin/env bash
# The life of a cluster on four machines, told by the commands that an administrator types: created, joined by three,
# one loses power and is removed, comes back with its old disk and is kept out, and joins again as a new node.
#
#   sudo examples/cluster_story.sh            (root: each machine is a set of namespaces on this one, on one bridge)
#   TOTEMD_BIN=/opt/totemd/bin sudo -E ...    where totemd and totemctl are, if not in ../.venv/bin or PATH
#
# Exit status 0: everything went as told. The machines, their disks and the bridge are gone at the end.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${TOTEMD_BIN:-}" ]; then
    TOTEMD_BIN=$here/.venv/bin
    [ -x "$TOTEMD_BIN/totemd" ] || TOTEMD_BIN=$(dirname "$(command -v totemd || echo /usr/bin/totemd)")
fi
[ "$(id -u)" = 0 ] || { echo "cluster_story: needs root, for namespaces" >&2; exit 1; }
[ -x "$TOTEMD_BIN/totemctl" ] || { echo "cluster_story: no totemctl in $TOTEMD_BIN; set TOTEMD_BIN" >&2; exit 1; }

names=(hake ling tope pike)
disks=$(mktemp -d)
declare -A machine=() # the process that holds a machine's namespaces

cleanup() {
    set +e
    local name
    for name in "${!machine[@]}"; do
        # The first process of its own process namespace: everything in it ends with it.
        kill -KILL "${machine[$name]}" 2>/dev/null
        wait "${machine[$name]}" 2>/dev/null
    done
    rm -rf "$disks"
}
trap cleanup EXIT

# One process holds the network that the machines are plugged into.
unshare --net --fork --kill-child --pid sleep 600 &
machine[switch]=$!

inside() { # inside NAME COMMAND...: run in a machine
    local name=$1 child
    shift
    child=$(pgrep -P "${machine[$name]}")
    nsenter --target "$child" --net --mount --uts --pid --wd=/root env PATH="$TOTEMD_BIN:$PATH" "$@"
}

on_switch() { nsenter --target "$(pgrep -P "${machine[switch]}")" --net "$@"; }

first_child() { # wait until unshare has forked
    local try
    for try in $(seq 50); do
        pgrep -P "$1" >/dev/null && return
        sleep 0.1
    done
    return 1
}

new_machine() { # new_machine NAME NUMBER: a host with an empty disk and 192.0.2.NUMBER
    local name=$1 number=$2 child
    unshare --net --mount --uts --pid --mount-proc --fork --kill-child --propagation private sleep 600 &
    machine[$name]=$!
    first_child "${machine[$name]}"
    child=$(pgrep -P "${machine[$name]}")
    on_switch ip link add "port$number" type veth peer name eth0 netns "/proc/$child/ns/net"
    on_switch ip link set "port$number" master br0 up
    inside "$name" sh -c "
        hostname $name
        mount -t tmpfs tmpfs $disks
        mkdir $disks/etc $disks/work $disks/varlib
        mount -t overlay overlay -o lowerdir=/etc,upperdir=$disks/etc,workdir=$disks/work /etc
        mount --bind $disks/varlib /var/lib
        mount -t tmpfs tmpfs /run
        rm -rf /etc/corosync; mkdir /etc/corosync
        ip link set lo up; ip link set eth0 up; ip addr add 192.0.2.$number/24 dev eth0; ip route add default via 192.0.2.254
        printf '127.0.0.1 localhost\n' > /etc/hosts"
    local other=0
    for other in 1 2 3 4; do
        inside "$name" sh -c "echo 192.0.2.$other ${names[$((other - 1))]} >> /etc/hosts"
    done
}

say() { printf '\n\033[1m-- %s\033[0m\n' "$*"; }

type_on() { # type_on NAME COMMAND...: as the administrator sees it
    local name=$1
    shift
    printf '%s# %s\n' "$name" "$*"
    inside "$name" sh -c "$*"
}

start='setsid totemd > /var/lib/totemd.log 2>&1 < /dev/null &'
status_of() { inside "$1" totemctl --json status; }
config_of() { inside "$1" sha256sum /etc/corosync/corosync.conf | cut -d' ' -f1; }
field() { python3 -c 'import json,sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."): value = value[key]
print(value)' "$1"; }
expect() { # expect WHAT GOT WANTED
    if [ "$2" != "$3" ]; then
        echo "cluster_story: $1 is $2, not $3" >&2
        exit 1
    fi
    echo "   ($1: $2)"
}
await() { # await SECONDS COMMAND...: until it succeeds
    local seconds=$1 try
    shift
    for try in $(seq "$((seconds * 5))"); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    echo "cluster_story: not within $seconds s: $*" >&2
    return 1
}
members_are() { [ "$(status_of "$1" | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["members"]))')" = "$2" ]; }

first_child "${machine[switch]}"
on_switch sh -c 'ip link set lo up; ip link add br0 type bridge mcast_snooping 0; ip link set br0 up'
for number in 1 2 3 4; do new_machine "${names[$((number - 1))]}" "$number"; done

say "hake: a new cluster, of one node"
type_on hake "totemctl cluster create sea --token-ms 1000"
type_on hake "$start"
type_on hake "totemctl cluster wait-quorum --timeout 20"
type_on hake "totemctl cluster status"

for name in ling tope pike; do
    say "$name joins, with a ticket from hake"
    printf 'hake# totemctl cluster invite\n'
    ticket=$(inside hake totemctl --json cluster invite | field ticket)
    echo "${ticket:0:48}..."
    type_on "$name" "totemctl cluster join $ticket --start '$start'" | sed "s/$ticket/\$TICKET/"
done
await 20 members_are hake 4
for name in "${names[@]}"; do
    say "$name: status and nodes"
    type_on "$name" "totemctl cluster status"
    type_on "$name" "totemctl cluster nodes"
done
expect "expected votes" "$(status_of hake | field votes.expected)" 4
expect "configurations" "$(for name in "${names[@]}"; do config_of "$name"; done | sort -u | wc -l)" 1

say "pike loses its power"
inside pike sh -c 'ip link set eth0 down; kill -KILL $(pgrep -x totemd || pgrep -f bin/totemd)'
await 30 members_are hake 3
type_on hake "totemctl cluster nodes --all"

say "hake removes it: out of the nodelist, and a new key for the others, in one change"
type_on hake "totemctl cluster remove pike"
await 10 members_are hake 3
type_on hake "totemctl cluster status"
type_on hake "totemctl cluster nodes --all"
type_on hake "totemctl cluster config history"
expect "expected votes" "$(status_of hake | field votes.expected)" 3
ring=$(status_of hake | field ring.id)
configuration=$(config_of hake)

say "pike is powered on again, with its old disk"
inside pike sh -c "ip link set eth0 up; ip route add default via 192.0.2.254; $start"
sleep 8
type_on pike "grep -i removed /var/lib/totemd.log | tail -n 3" || true
for name in hake ling tope; do
    expect "ring of $name" "$(status_of "$name" | field ring.id)" "$ring"
    expect "expected votes of $name" "$(status_of "$name" | field votes.expected)" 3
    expect "configuration of $name" "$(config_of "$name")" "$configuration"
done
why=$(inside pike grep -ci "removed" /var/lib/totemd.log || true)
[ "$why" -gt 0 ] || { echo "cluster_story: pike does not say why it is out" >&2; exit 1; }

say "pike joins again, under a new identity"
inside pike sh -c 'kill -TERM $(pgrep -x totemd || pgrep -f bin/totemd) 2>/dev/null; sleep 1' || true
ticket=$(inside hake totemctl --json cluster invite | field ticket)
type_on pike "totemctl cluster join $ticket --replace --start '$start'" | sed "s/$ticket/\$TICKET/"
await 20 members_are hake 4
type_on hake "totemctl cluster nodes --all"
expect "expected votes" "$(status_of hake | field votes.expected)" 4
expect "configurations" "$(for name in "${names[@]}"; do config_of "$name"; done | sort -u | wc -l)" 1
say "The end: as told."
