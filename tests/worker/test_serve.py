"""Where the reward server listens, and how."""

import socket

from worker.serve import listening


def test_a_reply_does_not_wait_for_the_acknowledgement_of_its_first_part() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with listening(f"127.0.0.1:{port}") as listener, socket.create_connection(("127.0.0.1", port)):
        accepted, _address = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
