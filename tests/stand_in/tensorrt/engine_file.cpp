#include "engine_file.hpp"

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <stdexcept>

namespace stand_in {
namespace {

std::uint64_t fnv1a(const std::string &text) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (unsigned char c : text) {
        hash = (hash ^ c) * 0x100000001b3;
    }
    return hash;
}

std::size_t width_of(const std::string &type) {
    if (type == "uint8") {
        return 1;
    }
    if (type == "fp16") {
        return 2;
    }
    if (type == "fp32" || type == "int32") {
        return 4;
    }
    if (type == "int64") {
        return 8;
    }
    throw std::invalid_argument("there is no type " + type);
}

// The rest of a line, as words of one type.
template <typename Word> std::vector<Word> words(std::istringstream &line) {
    std::vector<Word> all;
    for (Word word; line >> word;) {
        all.push_back(word);
    }
    return all;
}

Tensor tensor(std::istringstream &line) {
    Tensor parsed;
    line >> parsed.name >> parsed.type;
    parsed.row = words<std::int64_t>(line);
    width_of(parsed.type);
    return parsed;
}

void parse_line(EngineFile &engine, const std::string &text) {
    std::istringstream line(text);
    std::string key;
    line >> key;
    if (key == "tower") {
        std::string tower;
        line >> tower;
        engine.image = tower == "image";
    } else if (key == "tensorrt") {
        line >> engine.tensorrt;
    } else if (key == "compute_capability") {
        engine.compute_capabilities = words<std::string>(line);
    } else if (key == "input") {
        engine.input = tensor(line);
    } else if (key == "output") {
        engine.output = tensor(line);
    } else if (key == "profile") {
        std::vector<std::int64_t> sizes = words<std::int64_t>(line);
        if (sizes.size() == 3) {
            sizes.resize(6, 1);
        }
        if (sizes.size() != 6) {
            throw std::invalid_argument("a profile has three numbers, or three more of patches");
        }
        engine.profiles.push_back({{sizes[0], sizes[1], sizes[2]}, {sizes[3], sizes[4], sizes[5]}});
    } else if (key == "weight_bytes") {
        line >> engine.weight_bytes;
    } else if (key == "context_bytes") {
        line >> engine.context_bytes;
    } else if (key == "allocation") {
        std::string whose;
        line >> whose;
        engine.user_allocation = whose == "user";
    } else if (key == "wrong") {
        Wrong wrong;
        if (!(line >> wrong.rows >> wrong.slot >> wrong.share)) {
            throw std::invalid_argument("what is wrong has three numbers, or four");
        }
        if (!(line >> wrong.patches)) {
            wrong.patches = 0;
        }
        engine.wrong.push_back(wrong);
    } else {
        throw std::invalid_argument("there is a line that begins with \"" + key + "\"");
    }
}

} // namespace

std::size_t Tensor::row_elements(std::int64_t patches) const {
    std::int64_t elements = 1;
    for (std::int64_t dimension : row) {
        elements *= dimension == -1 ? patches : dimension;
    }
    return static_cast<std::size_t>(elements);
}

std::size_t Tensor::row_bytes(std::int64_t patches) const {
    return row_elements(patches) * width_of(type);
}

std::int64_t EngineFile::most_rows() const {
    std::int64_t most = 0;
    for (const auto &profile : profiles) {
        most = std::max(most, profile.rows[2]);
    }
    return most;
}

std::int64_t EngineFile::most_patches() const {
    std::int64_t most = 0;
    for (const auto &profile : profiles) {
        most = std::max(most, profile.patches[2]);
    }
    return most;
}

EngineFile parse_engine(const std::string &text) {
    std::size_t last = text.rfind("checksum ");
    if (text.rfind("stand-in engine 1\n", 0) != 0 || last == std::string::npos) {
        throw std::invalid_argument("it is no engine, or not the whole of one");
    }
    char checksum[40];
    std::snprintf(checksum, sizeof checksum, "checksum %016llx\n",
                  static_cast<unsigned long long>(fnv1a(text.substr(0, last))));
    if (text.substr(last) != checksum) {
        throw std::invalid_argument("its checksum is wrong");
    }
    EngineFile engine;
    engine.text = text;
    std::istringstream lines(text.substr(0, last));
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
        parse_line(engine, line);
    }
    bool whole = !engine.input.name.empty() && !engine.output.name.empty() &&
                 !engine.profiles.empty() && !engine.compute_capabilities.empty();
    if (!whole || engine.output.type != "fp32") {
        throw std::invalid_argument("something is missing in it");
    }
    return engine;
}

} // namespace stand_in
