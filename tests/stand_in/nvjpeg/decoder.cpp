#include "decoder.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace stand_in {
namespace {

struct Damaged {};

struct Table {
    std::array<int, 17> first{}; // Code and place of the first symbol of each length.
    std::array<int, 17> place{};
    std::array<int, 17> count{};
    std::vector<std::uint8_t> symbols;
};

struct Component {
    int id = 0, across = 1, down = 1, quantization = 0, dc = 0, ac = 0, before = 0;
    int stride = 0;
    std::vector<std::uint8_t> plane;
};

const std::array<int, 64> ZIGZAG = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

class File {
  public:
    File(const std::uint8_t *data, std::size_t bytes) : data_(data), bytes_(bytes) {}

    // Reads the segments before the scan.
    void header() {
        if (byte() != 0xff || byte() != 0xd8) {
            throw Damaged();
        }
        for (;;) {
            if (byte() != 0xff) {
                throw Damaged();
            }
            int marker = byte();
            std::size_t end = at_;
            end += static_cast<std::size_t>(word());
            if (end > bytes_) {
                throw Damaged();
            }
            if (marker == 0xdb) {
                while (at_ < end) {
                    auto &steps = quantization_.at(static_cast<std::size_t>(byte()) & 3);
                    for (int &step : steps) {
                        step = byte();
                    }
                }
            } else if (marker == 0xc4) {
                while (at_ < end) {
                    codes();
                }
            } else if (marker == 0xc0) {
                frame();
            } else if (marker == 0xdd) {
                interval_ = word();
            } else if (marker == 0xda) {
                scan();
                return;
            } else if (marker < 0xe0) {
                throw Damaged(); // Progressive, arithmetic, ...
            }
            at_ = end;
        }
    }

    void pixels(Picture *into) {
        int most_across = components_[0].across, most_down = components_[0].down;
        int units_across = (width + 8 * most_across - 1) / (8 * most_across);
        int units_down = (height + 8 * most_down - 1) / (8 * most_down);
        for (Component &it : components_) {
            it.stride = units_across * it.across * 8;
            it.plane.resize(static_cast<std::size_t>(it.stride) * units_down * it.down * 8);
        }
        int since = 0;
        for (int unit = 0; unit < units_across * units_down; ++unit) {
            if (interval_ > 0 && since == interval_) {
                restart();
                since = 0;
            }
            ++since;
            for (Component &it : components_) {
                for (int block = 0; block < it.across * it.down; ++block) {
                    int x = (unit % units_across * it.across + block % it.across) * 8;
                    int y = (unit / units_across * it.down + block / it.across) * 8;
                    decode_block(it, x, y);
                }
            }
        }
        into->width = width;
        into->height = height;
        into->rgb.resize(static_cast<std::size_t>(width) * height * 3);
        auto sample = [&](const Component &it, int x, int y) {
            x = x * it.across / most_across;
            y = y * it.down / most_down;
            return static_cast<double>(it.plane[static_cast<std::size_t>(y) * it.stride + x]);
        };
        std::uint8_t *out = into->rgb.data();
        for (int y = 0; y < height; ++y) {
            for (int x = 0; x < width; ++x) {
                double light = sample(components_[0], x, y);
                double blue = sample(components_[1], x, y) - 128;
                double red = sample(components_[2], x, y) - 128;
                *out++ = level(light + 1.402 * red);
                *out++ = level(light - 0.344136 * blue - 0.714136 * red);
                *out++ = level(light + 1.772 * blue);
            }
        }
    }

    int width = 0;
    int height = 0;

  private:
    static std::uint8_t level(double value) {
        return static_cast<std::uint8_t>(std::lround(std::clamp(value, 0.0, 255.0)));
    }

    int byte() {
        if (at_ >= bytes_) {
            throw Damaged();
        }
        return data_[at_++];
    }

    int word() {
        int high = byte();
        return high << 8 | byte();
    }

    void codes() {
        int kind = byte();
        Table &table = tables_.at(static_cast<std::size_t>((kind >> 4 & 1) * 2 + (kind & 1)));
        table = Table();
        int code = 0, place = 0;
        for (std::size_t length = 1; length <= 16; ++length) {
            table.count[length] = byte();
        }
        for (std::size_t length = 1; length <= 16; ++length) {
            table.first[length] = code;
            table.place[length] = place;
            code = (code + table.count[length]) << 1;
            place += table.count[length];
        }
        for (int symbol = 0; symbol < place; ++symbol) {
            table.symbols.push_back(static_cast<std::uint8_t>(byte()));
        }
    }

    void frame() {
        int depth = byte();
        height = word();
        width = word();
        if (depth != 8 || byte() != 3 || width == 0 || height == 0) {
            throw Damaged();
        }
        for (Component &it : components_) {
            it.id = byte();
            int factors = byte();
            it.across = factors >> 4;
            it.down = factors & 15;
            it.quantization = byte() & 3;
        }
        for (const Component &it : components_) {
            if (it.across < 1 || it.down < 1 || it.across > components_[0].across ||
                it.down > components_[0].down) {
                throw Damaged();
            }
        }
    }

    void scan() {
        if (byte() != 3 || width == 0) {
            throw Damaged();
        }
        for (Component &it : components_) {
            if (byte() != it.id) {
                throw Damaged();
            }
            int tables = byte();
            it.dc = tables >> 4 & 1;
            it.ac = tables & 1;
        }
        at_ += 3;
    }

    int bit() {
        if (left_ == 0) {
            held_ = byte();
            if (held_ == 0xff && byte() != 0) {
                throw Damaged();
            }
            left_ = 8;
        }
        return held_ >> --left_ & 1;
    }

    int bits(int count) {
        int value = 0;
        for (int i = 0; i < count; ++i) {
            value = value << 1 | bit();
        }
        // Half of the values are negative.
        return count > 0 && value < 1 << (count - 1) ? value - (1 << count) + 1 : value;
    }

    int symbol(const Table &table) {
        int code = 0;
        for (std::size_t length = 1; length <= 16; ++length) {
            code = code << 1 | bit();
            int offset = code - table.first[length];
            if (offset >= 0 && offset < table.count[length]) {
                return table.symbols[static_cast<std::size_t>(table.place[length] + offset)];
            }
        }
        throw Damaged();
    }

    void restart() {
        left_ = 0;
        if (byte() != 0xff || (byte() & 0xf8) != 0xd0) {
            throw Damaged();
        }
        for (Component &it : components_) {
            it.before = 0;
        }
    }

    void decode_block(Component &it, int x, int y) {
        const auto &steps = quantization_[static_cast<std::size_t>(it.quantization)];
        std::array<double, 64> waves{};
        it.before += bits(symbol(tables_[static_cast<std::size_t>(it.dc)]));
        waves[0] = it.before * steps[0];
        for (int k = 1; k < 64; ++k) {
            int found = symbol(tables_[static_cast<std::size_t>(2 + it.ac)]);
            if (found == 0) {
                break;
            }
            k += found >> 4;
            if ((found & 15) == 0) {
                continue;
            }
            if (k > 63) {
                throw Damaged();
            }
            auto at = static_cast<std::size_t>(k);
            waves[static_cast<std::size_t>(ZIGZAG[at])] = bits(found & 15) * steps[at];
        }
        static const auto cosines = [] {
            std::array<std::array<double, 8>, 8> table{};
            for (std::size_t place = 0; place < 8; ++place) {
                for (std::size_t wave = 0; wave < 8; ++wave) {
                    double scale = wave == 0 ? std::sqrt(0.125) : 0.5;
                    table[place][wave] = scale * std::cos((2.0 * place + 1) * wave * M_PI / 16);
                }
            }
            return table;
        }();
        std::array<double, 64> half{};
        for (std::size_t row = 0; row < 8; ++row) {
            for (std::size_t place = 0; place < 8; ++place) {
                for (std::size_t wave = 0; wave < 8; ++wave) {
                    half[row * 8 + place] += cosines[place][wave] * waves[row * 8 + wave];
                }
            }
        }
        for (std::size_t row = 0; row < 8; ++row) {
            for (std::size_t place = 0; place < 8; ++place) {
                double value = 128;
                for (std::size_t wave = 0; wave < 8; ++wave) {
                    value += cosines[row][wave] * half[wave * 8 + place];
                }
                auto to = static_cast<std::size_t>(y + static_cast<int>(row)) * it.stride;
                it.plane[to + static_cast<std::size_t>(x) + place] = level(value);
            }
        }
    }

    const std::uint8_t *data_;
    std::size_t bytes_;
    std::size_t at_ = 0;
    int held_ = 0, left_ = 0, interval_ = 0;
    std::array<std::array<int, 64>, 4> quantization_{};
    std::array<Table, 4> tables_;
    std::array<Component, 3> components_;
};

} // namespace

bool read_header(const std::uint8_t *file, std::size_t bytes, int *width, int *height) {
    try {
        File read(file, bytes);
        read.header();
        *width = read.width;
        *height = read.height;
        return true;
    } catch (const Damaged &) {
        return false;
    }
}

bool decode(const std::uint8_t *file, std::size_t bytes, Picture *into) {
    try {
        File read(file, bytes);
        read.header();
        read.pixels(into);
        return true;
    } catch (const Damaged &) {
        return false;
    }
}

} // namespace stand_in
