// The symbolic link `<socket-dir>/<cuuid>` to the bundle, through which CRI-O and old Podman reach
// the attach socket (contract.md 3.1). Not made with --full-attach.
#pragma once

#include "base/text.h"
#include "cli/options.h"
#include "sys/fd.h"

namespace monitor {

// Whether these options ask for the link.
bool wants_attach_link(const cli::Options& options);

// The link's path. One of exactly 107 characters loses the last one, so that a socket below it can
// be named by callers as conmon names it.
void put_attach_link(base::TextSink& path, const cli::Options& options);

// Makes the link, replacing an old one. It is no error that there is none to be made.
base::Result<void> make_attach_link(const cli::Options& options);

void remove_attach_link(const cli::Options& options);

} // namespace monitor
