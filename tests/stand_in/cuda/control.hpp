// The control socket: commands for a running process from the test that started it.
//
// STAND_IN_CONTROL names a Unix socket that the library creates. A command is a line; an answer is
// any number of lines, or `error SENTENCE`, and then a line with a full stop. Commands: `fault
// SPEC` adds faults, `clear` removes all faults, `release` ends works that hang, `delay SPEC`
// replaces the delays, `trace` and `leaks` return lines, `forget` empties the trace, `flush`
// writes it to its file.
#pragma once

#include <string>

namespace stand_in {

// Throws std::invalid_argument when there can be no socket of this name.
void listen_for_commands(const std::string &path);

} // namespace stand_in
