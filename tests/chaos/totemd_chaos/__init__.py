"""Chaos: real daemons in network namespaces, faults by a seed, and the simulator's checkers on what clients saw.

`schedule` draws the faults, `ring` runs the daemons and commits the faults, `recorder` (and `recorder_cpg.c` beside
corosync) writes down what one client sees, `recordings` reads that as a history, `checks` judges it together with logs,
memory and exit statuses, `__main__` is the command. It builds on the laboratory of the integration tests.
"""
