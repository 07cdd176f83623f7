// The decode kernel on a CPU, as a function that Python calls.
#include "cuda_on_cpu.h"
#include "decode.cu"

extern "C" void run_decode(
    const i64* grid, i64 threads, i64 shared_bytes, const void* x, const u8* packed, const u16* scale, const u8* classes,
    const i64* offsets, const u8* books, const int* counts, const int* row_ptr, const void* col, const signed char* value,
    const u16* sparse_scale, void* y, float* parts, i64 out, i64 across, i64 tokens, i64 group, i64 chunk,
    i64 tile_bytes, i64 class_count
) {
    if (threads != THREADS) abort();
    run_blocks({(unsigned)grid[0], (unsigned)grid[1], (unsigned)grid[2]}, THREADS, (unsigned)shared_bytes, [=] {
        decode(x, packed, scale, classes, offsets, books, counts, row_ptr, col, value, sparse_scale, y, parts, out,
                across, tokens, group, chunk, tile_bytes, class_count);
    });
}

extern "C" void run_add_tiles(
    const i64* grid, i64 threads, i64 shared_bytes, const int* sums, const u16* scale, const float* token_scale, float* y,
    i64 out, i64 across
) {
    run_blocks({(unsigned)grid[0], (unsigned)grid[1], 1}, (unsigned)threads, (unsigned)shared_bytes,
               [=] { add_tiles(sums, scale, token_scale, y, out, across); });
}

extern "C" void run_add_splits(const i64* grid, i64 threads, i64 shared_bytes, const float* parts, void* y, i64 splits,
                               i64 outputs) {
    run_blocks({(unsigned)grid[0], 1, 1}, (unsigned)threads, (unsigned)shared_bytes,
               [=] { add_splits(parts, y, splits, outputs); });
}
