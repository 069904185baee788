"""The benchmark: totemd beside corosync, the same clients, configuration and network, in turns on one machine.

`plan` says what is measured, `stage` puts nodes on a network, `probes`, `loads` and `changes` measure, `suite` does
everything in turn, `figures` holds what the numbers mean, `report` and `plots` show them.
"""
