"""The laboratory: real daemons in network namespaces of their own, for the integration tests and the benchmark.

`places` makes the namespaces and the bridge between them, `nodes` runs a daemon of either kind in one, `ring` puts
nodes with a common configuration on one network, `loads` drives process groups, `faults` drops and partitions.
Nothing here outlives the Python process that started it: every child is killed with its parent, and unnamed
namespaces vanish with their last process.
"""
