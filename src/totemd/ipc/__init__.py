"""The server side of the native socket, without sockets: frames, sessions and the requests they serve."""
