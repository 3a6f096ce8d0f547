// The control socket: commands for a process that runs, from the test that started it.
//
// STAND_IN_CONTROL names a Unix socket that the library makes. One command a line; the
// answer is lines, `error SENTENCE` among them, and then a line with a full stop. Commands:
// `fault SPEC` adds faults, `clear` removes all, `release` lets go of works that hang,
// `delay SPEC` sets the delays anew, `trace` and `leaks` answer with lines, `forget`
// empties the trace, `flush` writes it to its file.
#pragma once

#include <string>

namespace stand_in {

// Throws std::invalid_argument when there can be no socket of this name.
void listen_for_commands(const std::string &path);

} // namespace stand_in
