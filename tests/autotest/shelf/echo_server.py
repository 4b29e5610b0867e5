import array, logging, os, select, socket, struct
from autotest_lib.client.common_lib import error
from autotest_lib.client.virt import virt_utils

MAGIC = 0x525353L


class Echo(object):
    """Sends back the one message that it gets, with its length before it."""
    def __init__(self):
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(1)
        self.port = self.listener.getsockname()[1]

    def serve(self):
        peer, address = self.listener.accept()
        header = peer.recv(8)
        magic, length = struct.unpack("=II", header)
        data = ""
        while len(data) < length:
            data += peer.recv(length - len(data))
        peer.sendall(struct.pack("=II", magic, len(data)) + data)
        peer.close()
        self.listener.close()
        return magic == MAGIC


def talk(port, message):
    s = socket.socket()
    s.settimeout(10)
    s.connect(("127.0.0.1", port))
    s.send(struct.pack("=I", MAGIC) + struct.pack("=I", len(message)))
    view = buffer(message)
    for i in range(0, len(view), 3):
        s.send(buffer(view, i, 3))
    answer = ""
    while len(answer) < 8 + len(message):
        if select.select([s], [], [], 10)[0]:
            answer += s.recv(1024)
    s.close()
    return answer[8:], ord(answer[-1])


def run_echo_server(test, params, env):
    """
    Bytes that the guest makes travel over a socket unchanged.
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = vm.wait_for_login(timeout=int(params.get("login_timeout", 360)))
    octets = session.cmd("printf 'a\\377' | od -An -tu1").split()
    session.close()
    message = array.array("B", map(int, octets)).tostring() * 5
    echo = Echo()
    server = virt_utils.Thread(echo.serve)
    server.start()
    answer, last = talk(echo.port, message)
    if not server.join(30) or answer != message or last <> 255:
        raise error.TestFail("Sent %r, received %r" % (message, answer))
