// Turns a ragged batch of RGB pictures into the tensor [B, 3, S, S] of the vision tower:
// resized byte for byte as on the CPU (`Processor::resize`), then normalized by
// a table.
//
//   source (u8, RGB) --resize_width--> scratch (u8, planes) --resize_normalize--> out
//
// Two launches. resize_width does the width pass of the pictures that need one; its result
// lies in planes, so that the height pass reads four neighbours of a channel as one word.
// resize_normalize does the height pass where one is needed and looks the bytes up. A
// picture that has the model's width goes straight from source to the second launch.
//
// All arithmetic is integer: i16 weights times u8 pixels, summed in 32 bits, so the order of
// summation does not matter. The floating-point part, the coefficients, is computed on the
// host.
//
// The parameters of every entry point are four device pointers: source, table, scratch,
// out. The layout of the table is given by `Header` and `Picture` below; planner.rs writes it
// and also decides how many blocks to launch. Source pictures may be read up to 12 bytes past
// their end (SOURCE_SLACK in planner.rs).
//
// # What bounds it
//
// Memory. Bytes per picture at S = 224, FP16 out, and the time at 1.5 TB/s:
//
//   picture      source, read   scratch, written   scratch, read   out, written   sum, time
//   224 x 224         150,528                  0               0        301,056   0.45 MB, 0.30 us
//   640 x 480         921,600            322,560         322,560        301,056   1.87 MB, 1.25 us
//   1920 x 1280     7,372,800            860,160         860,160        301,056   9.39 MB, 6.3 us
//   4000 x 3000    36,000,000          2,016,000       2,016,000        301,056   40.3 MB, 27 us
//
// The scratch of a batch mostly stays in the L2 cache, and so do the second readings of it
// (a row is in two windows of the bilinear height pass) and of the pixels where tiles
// overlap (17 of 496 pixels of a tile at 1920). The source must come over the bus first, at
// 1/20 to 1/60 of that bandwidth: the kernel is never the bottleneck.
//
// Arithmetic, bilinear: a source byte is in two windows of the width pass. Its inner loop
// has 53 instructions for 48 products (sm_120): 1920 x 1280 is 14.7 million products, about
// 16 million instructions of a thread, under 1 us on a GPU that issues 20 T/s of them.
//
// Compiled for the host as C++ with -DRESIZE_HOST, it runs the same bodies block after
// block, and within a block phase after phase over all threads: `resize_host_launch`.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Threads of a block, of all entry points. As in kernel.rs.
#define THREADS 256u
// Rows and pixels of a tile of the width pass. As in planner.rs.
#define TILE_ROWS 8u
#define TILE_PIXELS 768u
// Rows that a thread computes in the width pass.
#define ROWS 2u
#define TILE_WORDS (TILE_PIXELS / 4u)

// -------------------------------------------------------------------- two compilers

#ifdef RESIZE_HOST

#include <string.h>

#define DEVICE static inline
#define SHARED
// The threads of a block take turns within a phase; when a phase begins, all have
// finished the previous one.
#define PHASE(t) for (u32 t = 0; t < THREADS; ++t)
// The state that a thread keeps from phase to phase.
#define PRIVATE THREADS
#define MINE(t) (t)
#define UNROLL(n)

DEVICE u32 load(const void *at) {
  u32 word;
  memcpy(&word, at, 4);
  return word;
}

DEVICE u64 load_long(const void *at) {
  u64 word;
  memcpy(&word, at, 8);
  return word;
}

template <typename T> DEVICE T load_value(const void *at) {
  T value;
  memcpy(&value, at, sizeof value);
  return value;
}

template <typename T> DEVICE void store(T *at, const T (&values)[4]) { memcpy(at, values, sizeof values); }

// The low word of (high:low) >> bits, bits in 0..31.
DEVICE u32 shift_right(u32 low, u32 high, u32 bits) {
  return (u32)((((u64)high << 32) | low) >> bits);
}

// Four of the eight bytes of b:a, one for each hexadecimal digit of the selector.
DEVICE u32 bytes(u32 a, u32 b, u32 selector) {
  u64 both = ((u64)b << 32) | a;
  u32 out = 0;
  for (u32 i = 0; i < 4; ++i) out |= (u32)((both >> (8 * ((selector >> (4 * i)) & 7))) & 255) << (8 * i);
  return out;
}

// sum + the two i16 of weights times the lower (upper) two u8 of pixels.
DEVICE int dot_low(u32 weights, u32 pixels, int sum) {
  int first = (short)(weights & 0xffff), second = (short)(weights >> 16);
  return sum + first * (int)(pixels & 255) + second * (int)((pixels >> 8) & 255);
}
DEVICE int dot_high(u32 weights, u32 pixels, int sum) { return dot_low(weights, pixels >> 16, sum); }

// The index of this block in the grid.
struct Block {
  u32 x, y;
};

// Shared memory has arbitrary contents when a block begins.
#define POISON(array) memset(array, 0xa5, sizeof array)

#else

#define DEVICE __device__ __forceinline__
#define SHARED __shared__
#define PHASE(t) \
  __syncthreads(); \
  if (const u32 t = threadIdx.x; true)
#define PRIVATE 1
#define MINE(t) (0 * (t))
#define UNROLL(n) _Pragma(n)

DEVICE u32 load(const void *at) { return __ldg((const u32 *)at); }
DEVICE u64 load_long(const void *at) { return __ldg((const u64 *)at); }

template <typename T> DEVICE T load_value(const void *at) { return __ldg((const T *)at); }

DEVICE void store(u16 *at, const u16 (&v)[4]) {
  *(uint2 *)at = make_uint2(v[0] | (u32)v[1] << 16, v[2] | (u32)v[3] << 16);
}
DEVICE void store(u32 *at, const u32 (&v)[4]) { *(uint4 *)at = make_uint4(v[0], v[1], v[2], v[3]); }

DEVICE u32 shift_right(u32 low, u32 high, u32 bits) { return __funnelshift_r(low, high, bits); }
DEVICE u32 bytes(u32 a, u32 b, u32 selector) { return __byte_perm(a, b, selector); }

// The intrinsics __dp2a_lo and __dp2a_hi take both operands signed, or both unsigned.
DEVICE int dot_low(u32 weights, u32 pixels, int sum) {
  int result;
  asm("dp2a.lo.s32.u32 %0, %1, %2, %3;" : "=r"(result) : "r"(weights), "r"(pixels), "r"(sum));
  return result;
}
DEVICE int dot_high(u32 weights, u32 pixels, int sum) {
  int result;
  asm("dp2a.hi.s32.u32 %0, %1, %2, %3;" : "=r"(result) : "r"(weights), "r"(pixels), "r"(sum));
  return result;
}

struct Block {
  u32 x, y;
};

#define POISON(array)

#endif

// ------------------------------------------------------------------------- the table

// The table begins with this. After it: the values of 3 x 256 bytes (red, green, blue), each
// as wide as an element of the output; the pictures; a u32 for each picture, its first block
// of the width pass; the coefficient sets. All offsets in the table are from its start, in
// bytes, and multiples of 4.
struct Header {
  // S.
  u32 size;
  u32 pictures;
  // Offsets of the first `Picture`, and of the first blocks.
  u32 pictures_at;
  u32 blocks_at;
};

struct Picture {
  // Offset in source, a multiple of 4.
  u64 source;
  // Offset in scratch, a multiple of 4: three planes of `height` rows of S bytes, rounded
  // up to a multiple of 4.
  u64 scratch;
  u32 width;
  u32 height;
  // Offsets of the coefficient sets of the two passes; 0 if there is no such pass.
  u32 across;
  u32 down;
  // The width pass: tiles side by side, and target columns of a tile.
  u32 tiles;
  u32 columns;
};

// A coefficient set: the source lines and weights of each of S target lines.
//   u32 precision, pairs; u32 start[S]; u32 weights[pairs][S]
// `start` is the first source line, `pairs` how many pairs of weights every target line has
// (with weights of 0 beyond the end of its window), two i16 in a word, the first in the
// lower half. For the width pass every start is a multiple of 4, starts do not decrease, and
// `pairs` is even.
struct Set {
  u32 precision, pairs;
  const u8 *starts;
  const u8 *weights;
};

DEVICE Set read_set(const u8 *table, u32 at, u32 size) {
  Set set;
  set.precision = load(table + at);
  set.pairs = load(table + at + 4);
  set.starts = table + at + 8;
  set.weights = set.starts + 4ull * size;
  return set;
}

DEVICE Header read_header(const u8 *table) {
  Header header;
  header.size = load(table);
  header.pictures = load(table + 4);
  header.pictures_at = load(table + 8);
  header.blocks_at = load(table + 12);
  return header;
}

DEVICE Picture read_picture(const u8 *table, const Header &header, u32 index) {
  const u8 *at = table + header.pictures_at + (u64)index * sizeof(Picture);
  Picture picture;
  picture.source = load_long(at);
  picture.scratch = load_long(at + 8);
  picture.width = load(at + 16);
  picture.height = load(at + 20);
  picture.across = load(at + 24);
  picture.down = load(at + 28);
  picture.tiles = load(at + 32);
  picture.columns = load(at + 36);
  return picture;
}

// ------------------------------------------------------------------------- arithmetic

DEVICE u32 smaller(u32 a, u32 b) { return a < b ? a : b; }
DEVICE u32 larger(u32 a, u32 b) { return a > b ? a : b; }
DEVICE u32 whole_words(u32 pixels) { return (pixels + 3u) & ~3u; }

DEVICE u32 to_byte(int sum, u32 precision) {
  int value = sum >> precision;
  return (u32)(value < 0 ? 0 : value > 255 ? 255 : value);
}

// Four neighbouring pixels, a word for each channel.
struct Quad {
  u32 channel[3];
};

// The four RGB pixels at byte `at`; reads whole words, up to 4 bytes beyond them.
DEVICE Quad read_quad(const u8 *source, u64 at) {
  const u8 *words = source + (at & ~3ull);
  const u32 bits = (u32)(at & 3) * 8;
  u32 a = load(words), b = load(words + 4), c = load(words + 8);
  // The same for all pixels of a row whose pixel is a multiple of 4.
  if (bits) {
    const u32 d = load(words + 12);
    a = shift_right(a, b, bits);
    b = shift_right(b, c, bits);
    c = shift_right(c, d, bits);
  }
  // a, b, c: r0 g0 b0 r1 | g1 b1 r2 g2 | b2 r3 g3 b3
  Quad quad;
  quad.channel[0] = bytes(bytes(a, b, 0x0630), c, 0x5210);
  quad.channel[1] = bytes(bytes(a, b, 0x0741), c, 0x6210);
  quad.channel[2] = bytes(bytes(a, b, 0x0052), c, 0x7410);
  return quad;
}

// ------------------------------------------------------------------------- width pass

// A target column in `ROWS` rows of a tile.
struct Column {
  u32 x, row, start, end;
  int sum[ROWS][3];
};

// The last picture whose first block is not beyond `block`. A picture without a width pass
// has no blocks, so it is never the last.
DEVICE u32 picture_of(const u8 *first_blocks, const Header &header, u32 block) {
  u32 low = 0, high = header.pictures;
  while (high - low > 1) {
    const u32 middle = (low + high) / 2;
    if (load(first_blocks + 4ull * middle) <= block) low = middle;
    else high = middle;
  }
  return low;
}

// A block makes TILE_ROWS rows of `columns` target pixels. It brings the source pixels that
// they need into shared memory, as planes, TILE_PIXELS at a time; the planner chooses
// `columns` so that one load is enough, unless a single window is longer than that.
DEVICE void width_pass(Block block, const u8 *__restrict__ source, const u8 *__restrict__ table,
                       u8 *__restrict__ scratch) {
  SHARED u32 tile[TILE_ROWS][3][TILE_WORDS];
  POISON(tile);

  const Header header = read_header(table);
  const u8 *first_blocks = table + header.blocks_at;
  const u32 index = picture_of(first_blocks, header, block.x);
  const Picture picture = read_picture(table, header, index);
  const Set set = read_set(table, picture.across, header.size);
  const u32 tile_index = block.x - load(first_blocks + 4ull * index);
  const u32 first_row = tile_index / picture.tiles * TILE_ROWS;
  const u32 first_column = tile_index % picture.tiles * picture.columns;
  const u32 last_column = smaller(first_column + picture.columns, header.size) - 1;

  // Source pixels of the tile; pixels beyond the row have weights of 0 and are not read.
  const u32 row_end = whole_words(picture.width);
  const u32 begin = load(set.starts + 4ull * first_column);
  const u32 end = smaller(load(set.starts + 4ull * last_column) + 2 * set.pairs, row_end);

  Column mine[PRIVATE];
  PHASE(t) {
    Column &column = mine[MINE(t)];
    column.x = first_column + t % picture.columns;
    column.row = t / picture.columns * ROWS;
    const bool active = column.x <= last_column && column.row < TILE_ROWS;
    column.start = active ? load(set.starts + 4ull * column.x) : row_end;
    column.end = smaller(column.start + 2 * set.pairs, row_end);
    for (u32 row = 0; row < ROWS; ++row)
      for (u32 channel = 0; channel < 3; ++channel) column.sum[row][channel] = 1 << (set.precision - 1);
  }

  for (u32 from = begin; from < end; from += TILE_PIXELS) {
    const u32 to = smaller(from + TILE_PIXELS, end);

    // Each warp loads a row.
    PHASE(t) {
      const u32 row = t / (THREADS / TILE_ROWS), y = first_row + row;
      if (y < picture.height) {
        const u64 at = picture.source + ((u64)y * picture.width + from) * 3;
        const u32 quads = (to - from) / 4;
        UNROLL("unroll 3")
        for (u32 quad = t % (THREADS / TILE_ROWS); quad < quads; quad += THREADS / TILE_ROWS) {
          const Quad pixels = read_quad(source, at + (u64)quad * 12);
          for (u32 channel = 0; channel < 3; ++channel) tile[row][channel][quad] = pixels.channel[channel];
        }
      }
    }

    // Each thread sums its column.
    PHASE(t) {
      Column &column = mine[MINE(t)];
      const u32 first = larger(column.start, from), last = smaller(column.end, to);
      const u64 next = 8ull * header.size;
      const u8 *weights = set.weights + (u64)(first - column.start) / 4 * next + 4ull * column.x;
      u32 word = (first - from) / 4;
      UNROLL("unroll 2")
      for (u32 x = first; x < last; x += 4, weights += next, ++word) {
        const u32 first_two = load(weights), last_two = load(weights + next / 2);
        for (u32 row = 0; row < ROWS; ++row)
          for (u32 channel = 0; channel < 3; ++channel) {
            const u32 pixels = tile[column.row + row][channel][word];
            column.sum[row][channel] = dot_low(first_two, pixels, column.sum[row][channel]);
            column.sum[row][channel] = dot_high(last_two, pixels, column.sum[row][channel]);
          }
      }
    }
  }

  const u32 pitch = whole_words(header.size);
  PHASE(t) {
    const Column &column = mine[MINE(t)];
    for (u32 row = 0; row < ROWS; ++row) {
      const u32 y = first_row + column.row + row;
      if (column.x <= last_column && column.row < TILE_ROWS && y < picture.height)
        for (u32 channel = 0; channel < 3; ++channel)
          scratch[picture.scratch + ((u64)channel * picture.height + y) * pitch + column.x] =
              (u8)to_byte(column.sum[row][channel], set.precision);
    }
  }
}

// --------------------------------------------------- height pass and normalization

// Four neighbours of row y of the width pass's output: planes in scratch, or the source
// itself.
template <bool PLANES>
DEVICE Quad read_row(const Picture &picture, const u8 *source, const u8 *scratch, u32 pitch, u32 x, u32 y) {
  if constexpr (PLANES) {
    Quad quad;
    for (u32 channel = 0; channel < 3; ++channel)
      quad.channel[channel] = load(scratch + picture.scratch + ((u64)channel * picture.height + y) * pitch + x);
    return quad;
  } else {
    return read_quad(source, picture.source + ((u64)y * picture.width + x) * 3);
  }
}

// Four neighbours of row y of the square.
template <bool PLANES>
DEVICE Quad height_pass(const Header &header, const Picture &picture, const u8 *source, const u8 *table,
                        const u8 *scratch, u32 x, u32 y) {
  const u32 pitch = whole_words(header.size);
  if (!picture.down) return read_row<PLANES>(picture, source, scratch, pitch, x, y);
  const Set set = read_set(table, picture.down, header.size);
  const u32 start = load(set.starts + 4ull * y), last = picture.height - 1;
  int sum[3][4];
  for (u32 channel = 0; channel < 3; ++channel)
    for (u32 i = 0; i < 4; ++i) sum[channel][i] = 1 << (set.precision - 1);
  UNROLL("unroll 4")
  for (u32 pair = 0; pair < set.pairs; ++pair) {
    // Rows beyond the last have weights of 0.
    const u32 row = start + 2 * pair;
    const Quad upper = read_row<PLANES>(picture, source, scratch, pitch, x, smaller(row, last));
    const Quad lower = read_row<PLANES>(picture, source, scratch, pitch, x, smaller(row + 1, last));
    const u32 weights = load(set.weights + ((u64)pair * header.size + y) * 4);
    for (u32 channel = 0; channel < 3; ++channel) {
      const u32 left = bytes(upper.channel[channel], lower.channel[channel], 0x5140);
      const u32 right = bytes(upper.channel[channel], lower.channel[channel], 0x7362);
      sum[channel][0] = dot_low(weights, left, sum[channel][0]);
      sum[channel][1] = dot_high(weights, left, sum[channel][1]);
      sum[channel][2] = dot_low(weights, right, sum[channel][2]);
      sum[channel][3] = dot_high(weights, right, sum[channel][3]);
    }
  }
  Quad quad;
  for (u32 channel = 0; channel < 3; ++channel) {
    quad.channel[channel] = 0;
    for (u32 i = 0; i < 4; ++i) quad.channel[channel] |= to_byte(sum[channel][i], set.precision) << (8 * i);
  }
  return quad;
}

// Each thread computes four neighbouring pixels of picture block.y. T has the width of an
// element of the output; it is only copied, never used in arithmetic.
template <typename T>
DEVICE void normalize(Block block, const u8 *__restrict__ source, const u8 *__restrict__ table,
                      const u8 *__restrict__ scratch, T *__restrict__ out) {
  SHARED T values[3][256];
  POISON(values);

  PHASE(t) {
    for (u32 channel = 0; channel < 3; ++channel)
      values[channel][t] = load_value<T>(table + sizeof(Header) + (channel * 256 + t) * sizeof(T));
  }

  const Header header = read_header(table);
  const Picture picture = read_picture(table, header, block.y);
  const u32 quads = whole_words(header.size) / 4;
  PHASE(t) {
    const u32 index = block.x * THREADS + t;
    const u32 x = index % quads * 4, y = index / quads;
    if (y < header.size) {
      const Quad quad = picture.across ? height_pass<true>(header, picture, source, table, scratch, x, y)
                                       : height_pass<false>(header, picture, source, table, scratch, x, y);
      for (u32 channel = 0; channel < 3; ++channel) {
        T value[4];
        for (u32 i = 0; i < 4; ++i) value[i] = values[channel][(quad.channel[channel] >> (8 * i)) & 255];
        T *at = out + (((u64)block.y * 3 + channel) * header.size + y) * header.size + x;
        if (header.size % 4 == 0) store(at, value);
        else
          for (u32 i = 0; i < 4; ++i)
            if (x + i < header.size) at[i] = value[i];
      }
    }
  }
}

// ------------------------------------------------------------------------ entry points

#ifdef RESIZE_HOST

// Runs an entry point as cuLaunchKernel would, in the calling thread. Returns 1 for an unknown
// entry point, or for a block size it does not support.
extern "C" int resize_host_launch(const char *entry, const unsigned grid[3], const unsigned block[3],
                                  void **params) {
  if (block[0] != THREADS || block[1] != 1 || block[2] != 1) return 1;
  const u8 *source = *(const u8 **)params[0], *table = *(const u8 **)params[1];
  u8 *scratch = *(u8 **)params[2];
  void *out = *(void **)params[3];
  const int which = !strcmp(entry, "resize_width")            ? 1
                    : !strcmp(entry, "resize_normalize_fp16") ? 2
                    : !strcmp(entry, "resize_normalize_fp32") ? 3
                                                              : 0;
  if (!which) return 1;
  for (u32 y = 0; y < grid[1]; ++y)
    for (u32 x = 0; x < grid[0]; ++x) {
      const Block at = {x, y};
      if (which == 1) width_pass(at, source, table, scratch);
      if (which == 2) normalize(at, source, table, scratch, (u16 *)out);
      if (which == 3) normalize(at, source, table, scratch, (u32 *)out);
    }
  return 0;
}

#else

// Grid: the blocks of all pictures' tiles.
extern "C" __global__ void __launch_bounds__(THREADS)
    resize_width(const u8 *source, const u8 *table, u8 *scratch, void *) {
  const Block block = {blockIdx.x, 0};
  width_pass(block, source, table, scratch);
}

// Grid: a thread for four pixels of the square; pictures.
extern "C" __global__ void __launch_bounds__(THREADS)
    resize_normalize_fp16(const u8 *source, const u8 *table, u8 *scratch, void *out) {
  const Block block = {blockIdx.x, blockIdx.y};
  normalize(block, source, table, (const u8 *)scratch, (u16 *)out);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    resize_normalize_fp32(const u8 *source, const u8 *table, u8 *scratch, void *out) {
  const Block block = {blockIdx.x, blockIdx.y};
  normalize(block, source, table, (const u8 *)scratch, (u32 *)out);
}

#endif
