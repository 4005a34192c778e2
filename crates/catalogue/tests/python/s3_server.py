"""An S3 server for tests: prints where it listens, and ends when its standard input does.

The system chooses the port, so that no other program can have it; whoever starts this holds the
other end of its standard input, so that the server never outlives it.
"""

import logging
import sys

from moto.moto_server.threaded_moto_server import ThreadedMotoServer

# Not a line for each request.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(f"http://{host}:{port}", flush=True)
sys.stdin.read()
server.stop()
