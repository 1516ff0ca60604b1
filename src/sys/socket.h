// Unix sockets: the attach listener, the console socket, datagrams to the system log.
#pragma once

#include "sys/fd.h"

#include <sys/socket.h>

namespace sys {

enum class SocketKind : uint8_t { stream, datagram, record }; // record: SEQPACKET

// An unconnected, non-blocking socket.
base::Result<Fd> make_socket(SocketKind kind);

// A listening, non-blocking socket at `name` in `directory`, replacing what was there, with `mode`
// (the umask does not apply). It is bound through the directory's descriptor, so the length of
// the directory's path does not matter. Needs /proc.
base::Result<Fd> listen_in(FdRef directory, const char* name, SocketKind kind, mode_t mode);

// A datagram socket bound likewise; nothing listens.
base::Result<Fd> bind_in(FdRef directory, const char* name, SocketKind kind, mode_t mode);

// Binds at a path that fits a socket address (107 bytes); a longer one is ENAMETOOLONG.
base::Result<void> bind_path(FdRef socket, std::string_view path);
base::Result<void> connect_path(FdRef socket, std::string_view path);

// Sends a datagram to the socket at `path` without waiting, whole or not at all. `socket` is
// connected first if it is not valid, and once more if whoever was there has gone. EAGAIN: no room
// now. EMSGSIZE: it is too large. ENOENT, ECONNREFUSED: there is nobody.
base::Result<void> send_datagram(Fd& socket, std::string_view path, const msghdr& message);

base::Result<void> start_listening(FdRef socket);

// The next waiting connection, non-blocking. EAGAIN: there is none.
base::Result<Fd> accept_one(FdRef listener);

// Receives a message that carries exactly one descriptor: the OCI console protocol (the runtime
// sends the terminal's name as data and its descriptor as SCM_RIGHTS). EAGAIN: nothing there yet.
// EPROTO: any other message; all descriptors that came with it are closed.
base::Result<Fd> receive_fd(FdRef socket);

} // namespace sys
