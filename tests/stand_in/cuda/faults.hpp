// Faults on demand.
//
//     STAND_IN_FAULT=alloc:7,copy:3+=1,sticky@infer:2
//
// An item is KIND:N, the Nth occurrence of the kind from when the item was set; with a `+`
// every one from the Nth on; with `=CODE` another result than the kind's own. Kinds are
// counted where they happen: calls that fail (`init`, `alloc`, `host_alloc`, `stream`,
// `event`, `module`, `graph`, `enqueue`, `launch`, `graph_launch`, `copy`), works that fail
// when their turn comes (`sticky`: an illegal address, `lost`: the device is gone, `hang`: it
// never ends; each also `@KIND` of work), and the stand-in for TensorRT's (`deserialize`,
// `context`, `trt_enqueue`, `memory_size`: not said, `nan`).
#pragma once

#include "api.hpp"

#include <map>
#include <string>
#include <vector>

namespace stand_in {

class Faults {
  public:
    // Adds the items of a text. Throws std::invalid_argument, and then adds none.
    void set(const std::string &text);
    void clear() { armed_.clear(); }

    // One more occurrence of this kind: the result that it must have.
    CUresult due(const std::string &kind);

  private:
    struct Armed {
        std::uint64_t at;
        bool onwards;
        CUresult result;
        std::uint64_t seen = 0;
    };

    std::multimap<std::string, Armed> armed_;
};

} // namespace stand_in
