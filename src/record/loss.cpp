#include "record/loss.h"

namespace record {

void tell_loss(sys::Diag& diag, std::string_view what, const Loss& loss) {
    sys::Message message;
    message.put(what).put(", records lost: ").put_dec(loss.records);
    message.put(", bytes lost: ").put_dec(loss.bytes);
    diag.warning(message.view());
}

} // namespace record
