// The texts are packed at compile time, each behind its number: branches to each would be three
// times the code, and a table of pointers needs relocations, which make a page of memory private to
// every process.

#include "base/errno_text.h"

#include <array>
#include <cerrno>

namespace base {

namespace {

struct Row {
    int code;
    std::string_view text;
};

consteval auto rows() {
    return std::to_array<Row>({
        {EPERM, "Operation not permitted"},
        {ENOENT, "No such file or directory"},
        {ESRCH, "No such process"},
        {EINTR, "Interrupted system call"},
        {EIO, "Input/output error"},
        {ENXIO, "No such device or address"},
        {E2BIG, "Argument list too long"},
        {ENOEXEC, "Exec format error"},
        {EBADF, "Bad file descriptor"},
        {ECHILD, "No child processes"},
        {EAGAIN, "Resource temporarily unavailable"},
        {ENOMEM, "Cannot allocate memory"},
        {EACCES, "Permission denied"},
        {EFAULT, "Bad address"},
        {ENOTBLK, "Block device required"},
        {EBUSY, "Device or resource busy"},
        {EEXIST, "File exists"},
        {EXDEV, "Invalid cross-device link"},
        {ENODEV, "No such device"},
        {ENOTDIR, "Not a directory"},
        {EISDIR, "Is a directory"},
        {EINVAL, "Invalid argument"},
        {ENFILE, "Too many open files in system"},
        {EMFILE, "Too many open files"},
        {ENOTTY, "Inappropriate ioctl for device"},
        {ETXTBSY, "Text file busy"},
        {EFBIG, "File too large"},
        {ENOSPC, "No space left on device"},
        {ESPIPE, "Illegal seek"},
        {EROFS, "Read-only file system"},
        {EMLINK, "Too many links"},
        {EPIPE, "Broken pipe"},
        {ERANGE, "Numerical result out of range"},
        {ENAMETOOLONG, "File name too long"},
        {ENOSYS, "Function not implemented"},
        {ENOTEMPTY, "Directory not empty"},
        {ELOOP, "Too many levels of symbolic links"},
        {EPROTO, "Protocol error"},
        {EOVERFLOW, "Value too large for defined data type"},
        {EBADMSG, "Bad message"},
        {EILSEQ, "Invalid or incomplete multibyte or wide character"},
        {ENOTSOCK, "Socket operation on non-socket"},
        {EDESTADDRREQ, "Destination address required"},
        {EMSGSIZE, "Message too long"},
        {EPROTOTYPE, "Protocol wrong type for socket"},
        {EOPNOTSUPP, "Operation not supported"},
        {EADDRINUSE, "Address already in use"},
        {ECONNRESET, "Connection reset by peer"},
        {ENOBUFS, "No buffer space available"},
        {EISCONN, "Transport endpoint is already connected"},
        {ENOTCONN, "Transport endpoint is not connected"},
        {ETIMEDOUT, "Connection timed out"},
        {ECONNREFUSED, "Connection refused"},
        {EALREADY, "Operation already in progress"},
        {EINPROGRESS, "Operation now in progress"},
        {ESTALE, "Stale file handle"},
        {EDQUOT, "Disk quota exceeded"},
        {ECANCELED, "Operation canceled"},
    });
}

consteval size_t packed_size() {
    size_t size = 0;
    for (const Row& row : rows()) {
        size += row.text.size() + 2;
    }
    return size;
}

// The number in one byte, the text, a NUL; and so on.
consteval auto packed_rows() {
    std::array<char, packed_size()> packed{};
    size_t size = 0;
    for (const Row& row : rows()) {
        CHECK(row.code > 0 && row.code < 256);
        packed[size++] = static_cast<char>(row.code);
        for (const char one : row.text) {
            packed[size++] = one;
        }
        packed[size++] = '\0';
    }
    return packed;
}

constexpr auto packed = packed_rows();

} // namespace

void put_errno(TextSink& sink, int code) {
    for (size_t at = 0; at != packed.size();) {
        const std::string_view text{packed.data() + at + 1};
        if (static_cast<unsigned char>(packed[at]) == code) {
            sink.put(text);
            return;
        }
        at += text.size() + 2;
    }
    sink.put("Unknown error ").put_dec(code);
}

} // namespace base
