"""The seal around every datagram of a sealed ring (protocol/, chapter "Sealed datagrams").

`Seal` encrypts what leaves a node, opens what arrives, and has a node that nobody here has met show who it is before
any of its packets counts. The library that encrypts is imported when a Seal is made: unsealed daemons never load it.
"""
