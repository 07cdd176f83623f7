// Runs a CUDA kernel on a CPU, to test what it computes: every thread of a block is a fiber, blocks run one after another.
// A fiber runs until it reaches a barrier of its warp or of its block; the order of fibers is random. All lanes of a warp
// must reach a barrier of the warp (shuffles and matrix products too), otherwise the run ends with an error. Shared memory
// begins with arbitrary bytes. Asynchronous copies arrive when they are waited for, and other bytes stand there until then.
// race_detector.cpp finds threads that do not wait for each other; a matrix product or a shuffle counts as no barrier.
#pragma once
#include "cuda_on_cpu_standard.h"

#define ON_CPU
#define DEVICE static inline
#define KERNEL(threads) extern "C" void
#define SHARED u8* shared = shared_memory.data();

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef long long i64;
struct alignas(8) uint2 { u32 x, y; };
struct alignas(16) uint4 { u32 x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct Index { unsigned x, y, z; };

extern "C" {
extern unsigned race_thread, race_block_barriers, race_warp_barriers[64];
extern unsigned char *race_first, *race_last;
void race_new_block();
void race_other(const char*);
}

struct Copy { void* to; const void* from; int bytes; };
static std::vector<std::deque<std::vector<Copy>>> copies;  // of each thread: groups that were begun
static std::vector<std::vector<Copy>> next_copies;         // of each thread: the group that is being made
static bool warp_waits[64];                                // for a barrier of the kernel, not for a product or a shuffle

static Index threadIdx, blockIdx, gridDim;
static std::vector<u8> shared_memory;

enum State { READY, AT_WARP, AT_BLOCK, DONE };
struct Fiber {
    ucontext_t context;
    std::vector<u8> stack;
    State state;
};
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static unsigned current;
static std::function<void()> body;
static std::mt19937 turns(1);

static void wait_at(State state) {
    const unsigned own = current;
    fibers[own].state = state;
    swapcontext(&fibers[own].context, &scheduler);
}
static void __syncwarp() {
    warp_waits[current / 32] = true;
    wait_at(AT_WARP);
}
static void exchange() { wait_at(AT_WARP); }
static void __syncthreads() { wait_at(AT_BLOCK); }
static void __threadfence() {}
static void entry() {
    body();
    fibers[current].state = DONE;
    swapcontext(&fibers[current].context, &scheduler);
}

// Lets the threads that wait go on, where all others have arrived.
static bool release() {
    bool all = true, some = false;
    for (size_t first = 0; first < fibers.size(); first += 32) {
        bool warp = true, alive = false;
        for (size_t i = first; i < first + 32; i++) {
            const State s = fibers[i].state;
            warp = warp && s == AT_WARP;
            alive = alive || s != DONE;
            all = all && (s == AT_BLOCK || s == DONE);
        }
        if (warp && alive) {
            if (warp_waits[first / 32]) race_warp_barriers[first / 32]++;
            warp_waits[first / 32] = false;
            for (size_t i = first; i < first + 32; i++) fibers[i].state = READY;
            some = true;
        }
    }
    if (!some && all) {
        race_block_barriers++;
        for (Fiber& fiber : fibers) {
            if (fiber.state == AT_BLOCK) fiber.state = READY, some = true;
        }
    }
    return some;
}

static void run_blocks(Index grid, unsigned threads, unsigned shared_bytes, std::function<void()> kernel) {
    body = kernel;
    gridDim = grid;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = {x, y, z};
                shared_memory.assign(shared_bytes + 1024, 0xCD);
                race_first = shared_memory.data(), race_last = race_first + shared_memory.size();
                race_new_block();
                copies.assign(threads, {}), next_copies.assign(threads, {});
                std::vector<unsigned> order(threads);
                for (unsigned i = 0; i < threads; i++) order[i] = i;
                fibers.resize(threads);
                for (Fiber& fiber : fibers) {
                    fiber.stack.resize(1 << 16);
                    fiber.state = READY;
                    getcontext(&fiber.context);
                    fiber.context.uc_stack = {fiber.stack.data(), 0, fiber.stack.size()};
                    fiber.context.uc_link = &scheduler;
                    makecontext(&fiber.context, entry, 0);
                }
                bool left = true;
                while (left) {
                    std::shuffle(order.begin(), order.end(), turns);
                    for (const unsigned i : order) {
                        if (fibers[i].state != READY) continue;
                        current = race_thread = i;
                        threadIdx = {i, 0, 0};
                        swapcontext(&scheduler, &fibers[i].context);
                    }
                    left = false;
                    for (const Fiber& fiber : fibers) left = left || fiber.state != DONE;
                    if (left && !release()) {
                        std::fprintf(stderr, "threads of a block wait for each other at different barriers\n");
                        std::abort();
                    }
                }
                for (const auto& groups : copies) {
                    for (const auto& group : groups) {
                        if (!group.empty()) race_other("a copy was not waited for");
                    }
                }
                for (unsigned i = shared_bytes; i < shared_bytes + 1024; i++) {
                    if (shared_memory[i] != 0xCD) {
                        std::fprintf(stderr, "a thread wrote behind the end of shared memory\n");
                        std::abort();
                    }
                }
            }
}

// What lanes give to each other.
struct Given { u32 a[4], b[2], value; };
static Given given[64][32];

DEVICE u32 prmt(u32 a, u32 b, u32 selector) {
    const u64 both = (u64)b << 32 | a;
    u32 d = 0;
    for (int i = 0; i < 4; i++) {
        const u32 s = selector >> (4 * i) & 15;
        u32 byte = (u32)(both >> (8 * (s & 7))) & 255;
        if (s & 8) byte = byte & 128 ? 255 : 0;  // the sign, eight times
        d |= byte << (8 * i);
    }
    return d;
}

DEVICE int byte_of(u32 four, int i) { return (int)(int8_t)(four >> (8 * i)); }

// mma.m16n8k32 of int8, by the fragments in the PTX ISA: rows g and g + 8, columns 2 t and 2 t + 1.
DEVICE void mma(int* sum, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    Given* warp = given[threadIdx.x >> 5];
    warp[lane] = {{a0, a1, a2, a3}, {b0, b1}, 0};
    exchange();
    for (int e = 0; e < 4; e++) {
        const int row = g + 8 * (e >> 1), column = 2 * t + (e & 1);
        for (int k = 0; k < 32; k++) {
            const u32 a = warp[(row & 7) * 4 + (k & 15) / 4].a[(row >> 3) + 2 * (k >> 4)];
            const u32 b = warp[column * 4 + (k & 15) / 4].b[k >> 4];
            sum[e] += byte_of(a, k & 3) * byte_of(b, k & 3);
        }
    }
    exchange();
}

DEVICE u32 bits_of(float f) { u32 bits; std::memcpy(&bits, &f, 4); return bits; }
DEVICE float float_of(u32 bits) { float f; std::memcpy(&f, &bits, 4); return f; }
DEVICE float half_to_float(u16 bits) { _Float16 h; std::memcpy(&h, &bits, 2); return (float)h; }
DEVICE u16 float_to_half(float f) { const _Float16 h = (_Float16)f; u16 bits; std::memcpy(&bits, &h, 2); return bits; }

DEVICE u32 times_nine(u32* fraction) {
    const u64 product = (u64)*fraction * 9;
    *fraction = (u32)product;
    return (u32)(product >> 32);
}
DEVICE u32 multiply_add(u32 a, u32 b, u32 c) { return a * b + c; }

DEVICE float shuffle(float value, int mask) {
    const int lane = threadIdx.x & 31;
    Given* warp = given[threadIdx.x >> 5];
    warp[lane].value = bits_of(value);
    exchange();
    const float found = float_of(warp[lane ^ mask].value);
    exchange();
    return found;
}

DEVICE u32 greatest(u32 value) {
    const int lane = threadIdx.x & 31;
    Given* warp = given[threadIdx.x >> 5];
    warp[lane].value = value;
    exchange();
    u32 top = 0;
    for (int i = 0; i < 32; i++) top = warp[i].value > top ? warp[i].value : top;
    exchange();
    return top;
}

DEVICE void begin_copy(void* to, const void* from, int bytes) {
    if ((u64)to % bytes || (u64)from % bytes) race_other("a copy is not aligned");
    for (int i = 0; i < bytes; i++) ((volatile u8*)to)[i] = 0xAB;
    next_copies[current].push_back({to, from, bytes});
}
DEVICE void copy16(void* to, const void* from) { begin_copy(to, from, 16); }
DEVICE void copy8(void* to, const void* from) { begin_copy(to, from, 8); }
DEVICE void copy4(void* to, const void* from) { begin_copy(to, from, 4); }
DEVICE void copies_begun() {
    copies[current].push_back(next_copies[current]);
    next_copies[current].clear();
}
DEVICE void wait_for_copies() {
    auto& groups = copies[current];
    for (; groups.size() > STAGES - 1; groups.pop_front()) {
        for (const Copy& copy : groups.front()) {
            for (int i = 0; i < copy.bytes; i++) ((volatile u8*)copy.to)[i] = ((volatile const u8*)copy.from)[i];
        }
    }
}
DEVICE void let_next_kernel_begin() {}
DEVICE void wait_for_kernel_before() {}
DEVICE float __fadd_rn(float a, float b) { return a + b; }
DEVICE float __fmul_rn(float a, float b) { return a * b; }
