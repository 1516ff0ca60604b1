#include "monitor/attach_link.h"

#include "sys/calls.h"
#include "sys/file.h"

#include <cerrno>

#include <limits.h>
#include <sys/un.h>

namespace monitor {

using base::fail;
using base::Result;
using base::Text;

bool wants_attach_link(const cli::Options& options) {
    return !options.full_attach && options.bundle != nullptr && options.cuuid != nullptr &&
           !options.drivers.passthrough;
}

void put_attach_link(base::TextSink& path, const cli::Options& options) {
    constexpr size_t corner = sizeof(sockaddr_un::sun_path) - 1;
    path.put(options.socket_dir_path).put('/').put(options.cuuid);
    if (path.size() == corner) {
        path.shrink(corner - 1);
    }
}

Result<void> make_attach_link(const cli::Options& options) {
    if (!wants_attach_link(options)) {
        return {};
    }
    Text<PATH_MAX> path;
    put_attach_link(path, options);
    if (path.overflowed()) {
        return fail(ENAMETOOLONG, "create link");
    }
    TRY(sys::remove(sys::working_directory(), path.c_str()));
    if (sys::symlink(options.bundle, path.c_str()) != 0) {
        return fail(errno, "create link");
    }
    return {};
}

void remove_attach_link(const cli::Options& options) {
    if (!wants_attach_link(options)) {
        return;
    }
    Text<PATH_MAX> path;
    put_attach_link(path, options);
    if (!path.overflowed()) {
        (void)sys::unlink(path.c_str());
    }
}

} // namespace monitor
