// Finds races in shared memory of a kernel that runs on a CPU (cuda_on_cpu.h). g++ -fsanitize=thread calls a function of this
// file for each access of memory. An access of shared memory is wrong if a thread reads or writes what another has
// written, or writes what another has read, with no barrier between them: one of the block, or one of the warp if both are
// in one warp. Accesses that are not aligned to their size are wrong too.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" {
unsigned race_thread;            // that runs
unsigned race_block_barriers;    // so far
unsigned race_warp_barriers[64];
unsigned char *race_first, *race_last;  // of shared memory
unsigned race_reports;

void race_other(const char* what) {
    if (race_reports++ < 10) std::fprintf(stderr, "%s, by thread %u\n", what, race_thread);
}
}

struct Written { unsigned block, warp; int thread; };
struct Read { unsigned block, warp, lanes; };
static std::vector<Written> written;  // by byte
static std::vector<Read> read_by;     // by byte and warp

extern "C" void race_new_block() {
    const size_t bytes = race_last - race_first;
    written.assign(bytes, {0, 0, -1});
    read_by.assign(bytes * 32, {0, 0, 0});
    race_block_barriers++;
}

static void report(const char* what, size_t byte, int other) {
    if (race_reports++ < 10) std::fprintf(stderr, "race at byte %zu: thread %u %s %d\n", byte, race_thread, what, other);
}

static void access(void* place, unsigned long size, bool writes, unsigned aligned) {
    unsigned char* at = (unsigned char*)place;
    if (at < race_first || at >= race_last) return;
    if (aligned && (uintptr_t)at % aligned) race_other("an access of shared memory is not aligned");
    const unsigned warp = race_thread / 32, block = race_block_barriers, own = race_warp_barriers[warp];
    for (size_t byte = at - race_first, end = byte + size; byte < end; byte++) {
        Written& before = written[byte];
        const bool other = before.thread >= 0 && before.thread != (int)race_thread && before.block == block;
        if (other && ((unsigned)before.thread / 32 != warp || before.warp == own)) {
            report(writes ? "writes after" : "reads what was written by", byte, before.thread);
        }
        if (!writes) {
            Read& reads = read_by[byte * 32 + warp];
            if (reads.block != block || reads.warp != own) reads = {block, own, 0};
            reads.lanes |= 1u << (race_thread & 31);
            continue;
        }
        for (unsigned w = 0; w < 32; w++) {
            const Read& reads = read_by[byte * 32 + w];
            const bool mine = w == warp && (reads.warp != own || !(reads.lanes & ~(1u << (race_thread & 31))));
            if (reads.lanes && reads.block == block && !mine) report("writes what was read by warp", byte, (int)w);
        }
        before = {block, own, (int)race_thread};
    }
}

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
#define ACCESS(n)                                                           \
    void __tsan_read##n(void* at) { access(at, n, false, n); }              \
    void __tsan_write##n(void* at) { access(at, n, true, n); }              \
    void __tsan_unaligned_read##n(void* at) { access(at, n, false, 0); }    \
    void __tsan_unaligned_write##n(void* at) { access(at, n, true, 0); }    \
    void __tsan_volatile_read##n(void* at) { access(at, n, false, n); }     \
    void __tsan_volatile_write##n(void* at) { access(at, n, true, n); }
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
void __tsan_read_range(void* at, unsigned long n) { access(at, n, false, 0); }
void __tsan_write_range(void* at, unsigned long n) { access(at, n, true, 0); }
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}
void* __tsan_memcpy(void* to, const void* from, unsigned long n) {
    access((void*)from, n, false, 0);
    access(to, n, true, 0);
    return memcpy(to, from, n);
}
void* __tsan_memmove(void* to, const void* from, unsigned long n) { return memmove(to, from, n); }
void* __tsan_memset(void* to, int value, unsigned long n) {
    access(to, n, true, 0);
    return memset(to, value, n);
}
}
