#!/usr/bin/env python3
"""An attach client: says "connected" on stderr, then prints each packet on a line of its own to
stdout, as the number of its stream (2 stdout, 3 stderr), a blank, and its bytes as Python spells them.

    attach_client.py SOCKET
"""

import socket
import sys

client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
client.connect(sys.argv[1])
print("connected", file=sys.stderr, flush=True)
while packet := client.recv(8194):
    print(packet[0], packet[1:], flush=True)
