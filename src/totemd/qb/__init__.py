"""The second front of the services: corosync's own client libraries, which speak libqb's IPC.

Everything here is an encoding of the same services that the native socket serves (`totemd.ipc`); only files, sockets,
memory maps and semaphores are the shell's (protocol/, chapter "libqb sockets").
"""
