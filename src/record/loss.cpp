#include "record/loss.h"

namespace record {

void put_loss(base::TextSink& text, std::string_view what, const Loss& loss) {
    text.put(what).put(", records lost: ").put_dec(loss.records);
    text.put(", bytes lost: ").put_dec(loss.bytes);
}

void tell_loss(sys::Diag& diag, std::string_view what, const Loss& loss) {
    sys::Message message;
    put_loss(message, what, loss);
    diag.warning(message.view());
}

} // namespace record
