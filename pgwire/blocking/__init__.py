"""The blocking shell: sockets, deadlines and the public `Connection`. It decides nothing."""
