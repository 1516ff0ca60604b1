// An attach client that reads as fast as it can until the end:
//
//   reader SOCKET
//
// Prints "connected" once it is, and "STDOUT_BYTES STDERR_BYTES" at the end. The first byte of a
// packet names the stream (2 stdout, 3 stderr); a packet has at most 8,193 bytes. Ends with 1 when
// something is wrong with a packet.

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char** argv) {
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) {
        return 2;
    }
    strcpy(address.sun_path, argv[1]);
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof address) != 0) {
        perror("reader: connect");
        return 1;
    }
    dprintf(1, "connected\n");
    static char packet[8194];
    uint64_t seen[2] = {0, 0};
    for (;;) {
        const ssize_t n = read(fd, packet, sizeof packet);
        if (n <= 0) {
            break;
        }
        if (n > 8193 || n < 2 || (packet[0] != 2 && packet[0] != 3)) {
            dprintf(2, "reader: a packet of %zd bytes for stream %d\n", n, packet[0]);
            return 1;
        }
        seen[packet[0] - 2] += static_cast<uint64_t>(n - 1);
    }
    dprintf(1,
            "%llu %llu\n",
            static_cast<unsigned long long>(seen[0]),
            static_cast<unsigned long long>(seen[1]));
    return 0;
}
