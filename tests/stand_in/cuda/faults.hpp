// Faults on demand.
//
//     STAND_IN_FAULT=alloc:7,copy:3+=1,sticky@infer:2
//
// An item KIND:N is the Nth occurrence of a kind, counted from when the item was set. With a `+`
// it is every occurrence from the Nth on, and `=CODE` replaces the kind's default result. Kinds
// are calls that fail (`init`, `alloc`, `host_alloc`, `stream`, `event`, `module`, `graph`,
// `enqueue`, `launch`, `graph_launch`, `copy`), works that fail when they run (`sticky`: an
// illegal address, `lost`: the device is gone, `hang`: the work never ends; all three also as
// `KIND@WORK` for one kind of work), and faults of the stand-in for TensorRT (`deserialize`,
// `context`, `trt_enqueue`, `memory_size`, `nan`) and of that for nvJPEG (`decode`, `state`, in
// STAND_IN_NVJPEG_FAULT).
#pragma once

#include "api.hpp"

#include <map>
#include <string>
#include <vector>

namespace stand_in {

class Faults {
  public:
    // Adds the items of a specification. Throws std::invalid_argument if one is malformed, and
    // adds none of them.
    void set(const std::string &text);
    void clear() { armed_.clear(); }

    // Counts an occurrence of this kind and returns the result it must have.
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
