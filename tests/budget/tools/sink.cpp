// A socket that stands for the journal's and takes whatever comes:
//
//   sink SOCKET COUNT
//
// Prints "bound" once it is there. A message that is too large for a datagram comes as a
// descriptor. After COUNT messages it prints the time (CLOCK_MONOTONIC, ns) and their number of
// bytes, and ends.

#include "place.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char** argv) {
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) {
        return 2;
    }
    strcpy(address.sun_path, argv[1]);
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const int size = 8 << 20; // as journald's
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    if (bind(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof address) != 0) {
        perror("sink: bind");
        return 1;
    }
    printf("bound\n");
    fflush(stdout);
    static char message[1 << 18];
    long long bytes = 0;
    for (long left = atol(argv[2]); left > 0; --left) {
        const ssize_t n = recv(fd, message, sizeof message, 0);
        if (n < 0) {
            perror("sink: recv");
            return 1;
        }
        bytes += n;
    }
    printf("%lld %lld\n", static_cast<long long>(now_ns()), bytes);
    return 0;
}
