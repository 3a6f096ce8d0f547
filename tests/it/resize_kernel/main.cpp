// Runs resize.cu, compiled for the host, on what comes in, and answers what it has written.
// Numbers are little-endian u64. A job:
//   launches, and for each: length of the entry point's name, name, grid x, grid y
//   source, table, scratch, out: lengths in bytes
//   the bytes of source and table
// The answer: the status of the last launch, and the bytes of out. Ends with the input.
// Each buffer is an allocation of its own of exactly its length, so that AddressSanitizer
// sees every access beyond it.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" int resize_host_launch(const char *entry, const unsigned grid[3], const unsigned block[3],
                                  void **params);

static bool get(void *into, size_t bytes) { return fread(into, 1, bytes, stdin) == bytes; }

static uint64_t number() {
  uint64_t value = 0;
  if (!get(&value, 8)) exit(2);
  return value;
}

struct Launch {
  char name[64];
  unsigned grid[3];
};

int main() {
  uint64_t count;
  while (get(&count, 8)) {
    Launch launches[4] = {};
    if (count > 4) return 2;
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t length = number();
      if (length >= sizeof launches[i].name || !get(launches[i].name, length)) return 2;
      launches[i].grid[0] = (unsigned)number();
      launches[i].grid[1] = (unsigned)number();
      launches[i].grid[2] = 1;
    }
    uint64_t bytes[4];
    void *buffers[4];
    void *params[4];
    for (int i = 0; i < 4; ++i) {
      bytes[i] = number();
      buffers[i] = malloc(bytes[i]);
      // What was never written must not matter.
      memset(buffers[i], 0x5a, bytes[i]);
      params[i] = &buffers[i];
    }
    if (!get(buffers[0], bytes[0]) || !get(buffers[1], bytes[1])) return 2;
    const unsigned block[3] = {256, 1, 1};
    uint64_t status = 0;
    for (uint64_t i = 0; i < count && status == 0; ++i)
      status = (uint64_t)resize_host_launch(launches[i].name, launches[i].grid, block, params);
    fwrite(&status, 8, 1, stdout);
    fwrite(buffers[3], 1, bytes[3], stdout);
    fflush(stdout);
    for (int i = 0; i < 4; ++i) free(buffers[i]);
  }
  return 0;
}
