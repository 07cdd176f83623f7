// Products of a few tokens with packed tiles of 128 x 128, on tensor cores, in integers. CUDA C++, for sm_80 and later.
//
// A block of threads takes one row of tiles and a part ("split") of its tiles. KW times three warps share the tiles: warp
// (part, turn) decodes 40 rows of every KW-th tile, eight groups of five rows. The remaining 8 rows of a tile (the 25th
// group and three rows in nibbles, if the tile is in base 9) belong to part (tile mod 3). A tile in nibbles is cut into the
// same rows, because sums stay with their rows.
//
// Codes become int8 words in registers, exactly where mma.m16n8k32 expects them: the order of a tile's inputs is free, so
// a lane multiplies the inputs whose codes it has loaded. Lane (g, t) holds rows of group g and a fourth of the inputs.
// The columns of the product are the digits of the tokens: three signed digits in base 256 of each input (float inputs),
// or the int8 input itself. The digits of a tile have a common step, a power of two; see `digits_of`.
//
// The sums of a tile begin at MAGIC, the bits of the float 1.5 * 2^23, so that the bits of a sum are a float too.
//
// Compiled with: TOKENS_TYPE (0 float32, 1 bfloat16, 2 float16, 3 int8), BLOCKS (of eight columns), KW, STAGES (tiles that a
// warp copies ahead), NINE and SIXTEEN (whether tiles in base 9 and in nibbles exist), SPARSE (0 none, 1 columns of 16 bits,
// 2 of 32 bits). The tests define ON_CPU, and what stands in `#ifndef ON_CPU` themselves.

#ifndef ON_CPU
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
#define DEVICE static __device__ __forceinline__
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define SHARED extern __shared__ __align__(16) u8 shared[];

DEVICE u32 prmt(u32 a, u32 b, u32 selector) {
    u32 d;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(selector));
    return d;
}

// sum[16, 8] += a[16, 32] b[32, 8]
DEVICE void mma(int* sum, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// The digit above the point of nine times a fraction of 2^32; the fraction becomes what is left.
DEVICE u32 times_nine(u32* fraction) {
    u32 digit;
    asm("{.reg .b64 r; mul.wide.u32 r, %1, 9; mov.b64 {%1, %0}, r;}" : "=r"(digit), "+r"(*fraction));
    return digit;
}

// In the unit of multiplications, since look-ups keep the other one busy.
DEVICE u32 multiply_add(u32 a, u32 b, u32 c) {
    u32 d;
    asm("mad.lo.u32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// The next kernel of the stream may begin to read its weights while this one computes. What the kernel before has written
// may be read after `wait_for_kernel_before`.
DEVICE void let_next_kernel_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
DEVICE void wait_for_kernel_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

DEVICE float half_to_float(u16 bits) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(bits));
    return f;
}

DEVICE u16 float_to_half(float f) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(f));
    return bits;
}

DEVICE float float_of(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 bits_of(float f) { return __float_as_uint(f); }
DEVICE float shuffle(float value, int mask) { return __shfl_xor_sync(~0u, value, mask); }
DEVICE u32 greatest(u32 value) { return __reduce_max_sync(~0u, value); }

// Copies from global to shared memory go on while the warp computes.
DEVICE void copy16(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from));
}
DEVICE void copy8(void* to, const void* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from));
}
DEVICE void copy4(void* to, const void* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from));
}
DEVICE void copies_begun() { asm volatile("cp.async.commit_group;"); }
DEVICE void wait_for_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 1)); }
#endif

#define MAGIC 0x4B400000
#define MAGIC_FLOAT 12582912.0f
#define DIGITS (TOKENS_TYPE == 3 ? 1 : 3)
#define WARPS (3 * KW + (SPARSE ? 4 : 0))
#define THREADS (32 * WARPS)
#define PITCH 144                      // bytes from one column of digits to the next; 16 more than needed, so that banks differ
#define SLOTS 144                      // 120 rows, and three copies of the 8 remaining rows, one for each part
#define SCALES (6 * 512 + 256)         // in a stage, behind six times 16 bytes and once 8 bytes of codes for each lane
#define STAGE_BYTES (SCALES + 6 * 32)  // what a warp copies of a tile
#define AT_ONCE 4                      // inputs of tiles, or rows of the sparse part, that a warp loads at once
#define MOST_CLASSES 16

// Eight nibbles to eight words. `fours` is 0x44444444 in a register: an instruction takes one constant only.
DEVICE void sixteen(u32 codes, const u32* book, u32 fours, u32* low, u32* high) {
    u32 c = codes & 0x77777777, m = ((codes >> 1) & fours) | 0x32103210;
    *low = prmt(prmt(book[0], book[1], c), prmt(book[2], book[3], c), m);
    c >>= 16, m >>= 16;
    *high = prmt(prmt(book[0], book[1], c), prmt(book[2], book[3], c), m);
}

// Four columns of five rows in base 9, 16 bits each, to five times four words. A digit of 8 selects the sign of a byte in
// the first look-up, which the second replaces by word 8.
DEVICE void fives(u32 first, u32 second, const u32* book, u32 fours, u32* words) {
    u32 f0 = first << 16, f1 = first & 0xffff0000, f2 = second << 16, f3 = second & 0xffff0000;
    const u32 last = prmt(book[2], 0, 0);
#pragma unroll
    for (int i = 0; i < 5; i++) {
        const u32 d0 = times_nine(&f0), d1 = times_nine(&f1), d2 = times_nine(&f2), d3 = times_nine(&f3);
        const u32 c = multiply_add(multiply_add(d3, 16, d2), 256, multiply_add(d1, 16, d0));
        words[i] = prmt(prmt(book[0], book[1], c), last, ((c >> 1) & fours) | 0x3210);
    }
}

// Where the codes of a tile begin, and whether they are in base 9.
typedef struct {
    i64 at;
    bool nine;
} Place;

DEVICE Place place_of(const i64* offsets, const u8* classes, const int* counts, i64 tile, int uniform) {
    Place found = {tile * uniform, NINE != 0};
    if (!uniform) {
        found.at = offsets[tile];
        found.nine = NINE && (!SIXTEEN || counts[classes[tile]] <= 9);
    }
    return found;
}

// Begins to copy what a warp decodes of a tile: rows 0 to 4 (nibbles of five rows, or four times eight columns of five rows
// in base 9), 5 (nibbles of one of the remaining rows), four columns of the 25th group, and the scales of the rows: the four
// aligned bytes in which each lies.
DEVICE void copy_codes(
    u8* stage, const u8* packed, Place place, const u16* scale, int across, int part, bool with_rest, int lane
) {
    const int g = lane >> 2, t = lane & 3;
    const u8* at = packed + place.at;
    u8* own = stage + 16 * lane;
    if (place.nine) {
        const u8* from = at + (8 * part + g) * 256 + t * 16;
#pragma unroll
        for (int j = 0; j < 4; j++) copy16(own + 512 * j, from + 64 * j);
        if (with_rest) {
            copy8(stage + 6 * 512 + 8 * lane, at + 24 * 256 + lane * 8);
            if (g >= 5) copy16(own + 5 * 512, at + 25 * 256 + (g - 5) * 64 + t * 16);
        }
    } else {
        const u8* from = at + (40 * part + 5 * g) * 64 + t * 16;
#pragma unroll
        for (int i = 0; i < 5; i++) copy16(own + 512 * i, from + 64 * i);
        if (with_rest) copy16(own + 5 * 512, at + (120 + g) * 64 + t * 16);
    }
#if TOKENS_TYPE != 3
    const int row = 40 * part + 5 * g;
    copy4(stage + SCALES + 32 * t + 4 * g, (const void*)((u64)(scale + (i64)(row + t) * across) & ~3ull));
    if (t == 0) copy4(stage + SCALES + 32 * 4 + 4 * g, (const void*)((u64)(scale + (i64)(row + 4) * across) & ~3ull));
    if (t == 1 && with_rest) {
        copy4(stage + SCALES + 32 * 5 + 4 * g, (const void*)((u64)(scale + (i64)(120 + g) * across) & ~3ull));
    }
#endif
}

// The scale of a row of a tile, from the four bytes that were copied. The scales of a row of tiles begin at a multiple of 4.
DEVICE float scale_of(const u8* stage, int i, int row, int a, int across, int g) {
    const u32 two = *(const u32*)(stage + SCALES + 32 * i + 4 * g);
    return half_to_float((u16)(((row & across) ^ a) & 1 ? two >> 16 : two));
}

DEVICE uint2 inputs_at(const u8* digits, int columns, int column, int at) {
    uint2 none = {0, 0};
    return column < columns ? *(const uint2*)(digits + column * PITCH + at) : none;
}

// Adds the products of 40 rows and 32 inputs: five words low[i], high[i] of each lane's rows.
DEVICE void multiply(int sums[3][BLOCKS][4], const u32* low, const u32* high, const u8* digits, int columns, int g, int at) {
#pragma unroll
    for (int n = 0; n < BLOCKS; n++) {
        const uint2 b = inputs_at(digits, columns, 8 * n + g, at);
        mma(sums[0][n], low[0], low[1], high[0], high[1], b.x, b.y);
        mma(sums[1][n], low[2], low[3], high[2], high[3], b.x, b.y);
        mma(sums[2][n], low[4], 0, high[4], 0, b.x, b.y);
    }
}

DEVICE void multiply_tile(
    int sums[3][BLOCKS][4], const u8* stage, bool nine, const u32* book, const u8* digits, int columns, u32 fours, int lane
) {
    const int g = lane >> 2, t = lane & 3;
    const u8* own = stage + 16 * lane;
    u32 low[5], high[5];
    if (NINE && nine) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const uint4 eight = *(const uint4*)(own + 512 * j);
            fives(eight.x, eight.y, book, fours, low);
            fives(eight.z, eight.w, book, fours, high);
            multiply(sums, low, high, digits, columns, g, 32 * j + 8 * t);
        }
    } else if (SIXTEEN) {
        uint4 rows[5];
#pragma unroll
        for (int i = 0; i < 5; i++) rows[i] = *(const uint4*)(own + 512 * i);
#pragma unroll
        for (int j = 0; j < 4; j++) {
#pragma unroll
            for (int i = 0; i < 5; i++) {
                const u32 eight = j == 0 ? rows[i].x : j == 1 ? rows[i].y : j == 2 ? rows[i].z : rows[i].w;
                sixteen(eight, book, fours, low + i, high + i);
            }
            multiply(sums, low, high, digits, columns, g, 32 * t + 8 * j);
        }
    }
}

// Adds the products of the 8 remaining rows. Words of the 25th group pass through the stage, whose rows have been read.
DEVICE void multiply_rest(
    int sums[BLOCKS][4], u8* stage, bool nine, const u32* book, const u8* digits, int columns, u32 fours, int lane
) {
    const int g = lane >> 2, t = lane & 3;
    u32 words[8];
    const uint4 rest = *(const uint4*)(stage + 5 * 512 + 16 * lane);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const u32 eight = j == 0 ? rest.x : j == 1 ? rest.y : j == 2 ? rest.z : rest.w;
        sixteen(eight, book, fours, words + 2 * j, words + 2 * j + 1);
    }
    if (NINE && nine) {
        u32 five[5];
        const uint2 fractions = *(const uint2*)(stage + 6 * 512 + 8 * lane);
        fives(fractions.x, fractions.y, book, fours, five);
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 5; i++) *(u32*)(stage + i * PITCH + 4 * lane) = five[i];
        __syncwarp();
        if (g < 5) {
            const u8* line = stage + g * PITCH + 32 * t;
            const uint4 a = *(const uint4*)line, b = *(const uint4*)(line + 16);
            words[0] = a.x, words[1] = a.y, words[2] = a.z, words[3] = a.w;
            words[4] = b.x, words[5] = b.y, words[6] = b.z, words[7] = b.w;
        }
        __syncwarp();
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
#pragma unroll
        for (int n = 0; n < BLOCKS; n++) {
            const uint2 b = inputs_at(digits, columns, 8 * n + g, 32 * t + 8 * j);
            mma(sums[n], words[2 * j], 0, words[2 * j + 1], 0, b.x, b.y);
        }
    }
}

// Four inputs of a token as floats, or as they are.
DEVICE void four_of(const void* x, i64 first, float* to) {
#if TOKENS_TYPE == 0
    const float4 v = *(const float4*)((const float*)x + first);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
#else
    const uint2 v = *(const uint2*)((const u16*)x + first);
#if TOKENS_TYPE == 1
    to[0] = float_of(v.x << 16), to[1] = float_of(v.x & 0xffff0000);
    to[2] = float_of(v.y << 16), to[3] = float_of(v.y & 0xffff0000);
#else
    to[0] = half_to_float((u16)v.x), to[1] = half_to_float((u16)(v.x >> 16));
    to[2] = half_to_float((u16)v.y), to[3] = half_to_float((u16)(v.y >> 16));
#endif
#endif
}

DEVICE float input_of(const void* x, i64 at) {
#if TOKENS_TYPE == 0
    return ((const float*)x)[at];
#elif TOKENS_TYPE == 1
    return float_of((u32)((const u16*)x)[at] << 16);
#else
    return half_to_float(((const u16*)x)[at]);
#endif
}

DEVICE void put(void* y, i64 at, float value) {
#if TOKENS_TYPE == 1
    const u32 bits = bits_of(value);
    const bool nan = (bits & 0x7fffffff) > 0x7f800000;
    ((u16*)y)[at] = nan ? 0x7fc0 : (u16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // to nearest, ties to even
#elif TOKENS_TYPE == 2
    ((u16*)y)[at] = float_to_half(value);
#else
    ((float*)y)[at] = value;
#endif
}

// One warp writes the digits of a token's inputs of one tile, and the steps of its columns; a lane has four of the inputs.
// x = step * (d0 + 256 d1 + 65536 d2). The step is 2^-22 to 2^-21 of the tile's largest input.
DEVICE void digits_of(const float* value, u8* column, float* steps, int lane) {
    u32 q[4], top = 32;  // below an exponent of 32 the step stays the same, so very small inputs become 0
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const u32 exponent = (bits_of(value[i]) >> 23) & 255;
        top = exponent > top ? exponent : top;
    }
    top = greatest(top);
    const float factor = float_of((275 - (top < 254 ? top : 254)) << 23);
#pragma unroll
    for (int i = 0; i < 4; i++) {  // adding 1.5 * 2^23 rounds to an integer below 2^22; then the bytes become signed digits
        q[i] = bits_of(value[i] * factor + MAGIC_FLOAT) - MAGIC;
        q[i] = (q[i] + 0x808080) ^ 0x808080;
    }
    const u32 a = prmt(q[0], q[1], 0x5140), b = prmt(q[2], q[3], 0x5140);
    const u32 c = prmt(q[0], q[1], 0x0062), d = prmt(q[2], q[3], 0x0062);
    *(u32*)(column + 4 * lane) = prmt(a, b, 0x5410);
    *(u32*)(column + PITCH + 4 * lane) = prmt(a, b, 0x7632);
    *(u32*)(column + 2 * PITCH + 4 * lane) = prmt(c, d, 0x5410);
    if (lane < 3) {  // an infinity or a NaN makes the tile NaN
        steps[lane] = top == 255 ? float_of(0x7fc00000) : float_of((top - 21 + 8 * lane) << 23);
    }
}

// All warps write the digits of `count` tokens in the tiles from `low` to `high`.
DEVICE void digits_of_chunk(
    const void* x, int low, int high, int count, int columns, int in_features, u8* digits, float* steps, int warp, int lane
) {
    const int all = (high - low) * count;
    for (int first = warp; first < all; first += AT_ONCE * WARPS) {
#if TOKENS_TYPE == 3
        u32 inputs[AT_ONCE];
#else
        float inputs[AT_ONCE][4];
#endif
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            const int i = first + u * WARPS, k = i / count, m = i - k * count;
            const i64 from = (i64)m * in_features + (low + k) * 128 + 4 * lane;
            if (i < all) {
#if TOKENS_TYPE == 3
                inputs[u] = *(const u32*)((const u8*)x + from);
#else
                four_of(x, from, inputs[u]);
#endif
            }
        }
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            const int i = first + u * WARPS, k = i / count, m = i - k * count;
            if (i < all) {
                u8* column = digits + (k * columns + m * DIGITS) * PITCH;
#if TOKENS_TYPE == 3
                *(u32*)(column + 4 * lane) = inputs[u];
#else
                digits_of(inputs[u], column, steps + k * BLOCKS * 8 + m * DIGITS, lane);
#endif
            }
        }
    }
}

#if SPARSE
#if SPARSE == 1
typedef u16 Column;
#else
typedef int Column;
#endif

// The sums of value * x over the entries of rows `first` + warp, + 4, ... of a row of tiles, for up to eight tokens.
DEVICE void sparse_sums(
    const void* x, const int* row_ptr, const Column* col, const signed char* value, const u16* scale, int first, int end,
    int in_features, int tokens, int warp, int lane, float* to
) {
    for (int r = first + warp; r < end; r += 4 * AT_ONCE) {
        int begin[AT_ONCE], stop[AT_ONCE];
        float weight[AT_ONCE][2];
        int column[AT_ONCE][2];
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            const int row = r + 4 * k;
            begin[k] = row < end ? row_ptr[row] : 0;
            stop[k] = row < end ? row_ptr[row + 1] : 0;
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int i = begin[k] + 32 * e + lane;
                column[k][e] = i < stop[k] ? (int)col[i] : 0;
                weight[k][e] = i < stop[k] ? (float)value[i] : 0.0f;
            }
        }
        for (int m = 0; m < tokens; m++) {
            const i64 token = (i64)m * in_features;
            float sum[AT_ONCE];
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++) {
                sum[k] = 0.0f;
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    if (begin[k] + 32 * e + lane < stop[k]) sum[k] += weight[k][e] * input_of(x, token + column[k][e]);
                }
                for (int i = begin[k] + 64 + lane; i < stop[k]; i += 32) {
                    sum[k] += (float)value[i] * input_of(x, token + (int)col[i]);
                }
            }
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++) {
#pragma unroll
                for (int mask = 16; mask; mask >>= 1) sum[k] += shuffle(sum[k], mask);
                const int row = r + 4 * k;
                if (lane == 0 && row < end) to[(row & 127) * 8 + m] = sum[k] * half_to_float(scale[row]);
            }
        }
    }
}
#endif

// y[token, out], or with int8 inputs the int32 sums of tiles [token, across, out] in `y`.
//
// Grid: splits, rows of tiles, groups of `group_count` tokens. If there are several splits, the sums go to `parts`, float32
// [splits, tokens, out], and `add_splits` adds them. `chunk_count` is the number of tiles whose digits are in shared
// memory, `tile_bytes` the bytes of every tile, 0 if they differ. Whole numbers are 64-bit, as Python passes them.
KERNEL(THREADS) decode(
    const void* x, const u8* packed, const u16* scale, const u8* classes, const i64* offsets, const u8* books,
    const int* counts, const int* row_ptr, const void* col, const signed char* value, const u16* sparse_scale, void* y,
    float* parts, i64 out_count, i64 across_count, i64 token_count, i64 group_count, i64 chunk_count,
    i64 tile_bytes, i64 class_count
) {
    const int out_features = (int)out_count, across = (int)across_count, tokens = (int)token_count;
    const int group = (int)group_count, chunk = (int)chunk_count, uniform = (int)tile_bytes, class_number = (int)class_count;
    SHARED
    const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5, g = lane >> 2, t = lane & 3;
    const int split = blockIdx.x, splits = gridDim.x, d = blockIdx.y;
    const int token = blockIdx.z * group, count = tokens - token < group ? tokens - token : group;
    const int columns = DIGITS * count, in_features = across * 128;
    const int from = (int)((i64)across * split / splits), to = (int)((i64)across * (split + 1) / splits);
    const bool dense = warp < 3 * KW;
    const int part = warp % 3, turn = warp / 3;
    u8* stages = shared + warp * STAGES * STAGE_BYTES;
    u8* digits = shared + 3 * KW * STAGES * STAGE_BYTES;
    float* steps = (float*)(digits + chunk * columns * PITCH);
    u32* book_of = (u32*)(steps + chunk * BLOCKS * 8);  // [MOST_CLASSES, 4]
    u8* kinds = (u8*)(book_of + MOST_CLASSES * 4);      // [chunk, 4]: class, and 1 if in base 9
#if SPARSE
    float* extra = (float*)(kinds + 4 * chunk);  // [128, 8]
#endif
#if TOKENS_TYPE == 3
    x = (const u8*)x + (i64)token * in_features;
#else
    x = (const u8*)x + (i64)token * in_features * (TOKENS_TYPE == 0 ? 4 : 2);
#endif
    scale += (i64)d * 128 * across;
    const i64 tiles = (i64)d * across;
    const u32 fours = 0x44444444 + (u32)(tile_bytes >> 40);  // the compiler must not know that it is a constant

    float total[3][BLOCKS][4], rest_total[BLOCKS][2];
#pragma unroll
    for (int n = 0; n < BLOCKS; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) total[0][n][e] = total[1][n][e] = total[2][n][e] = 0.0f;
        rest_total[n][0] = rest_total[n][1] = 0.0f;
    }

    int a = from + turn, stage = 0;
    Place later = {0, false};
    if (dense) {
        for (int s = 0; s < STAGES; s++) {
            const int k = a + s * KW;
            if (k < to) {
                copy_codes(stages + s * STAGE_BYTES, packed, place_of(offsets, classes, counts, tiles + k, uniform),
                           scale + k, across, part, k % 3 == part, lane);
            }
            copies_begun();
        }
        if (a + STAGES * KW < to) later = place_of(offsets, classes, counts, tiles + a + STAGES * KW, uniform);
    }
    for (int i = thread; i < MOST_CLASSES * 4 && i < 4 * class_number; i += THREADS) book_of[i] = ((const u32*)books)[i];
    let_next_kernel_begin();
    for (int low = from; low < to; low += chunk) {
        const int high = low + chunk < to ? low + chunk : to;
        if (low > from) __syncthreads();
        for (int k = thread; k < high - low; k += THREADS) {
            const int kind = uniform ? 0 : classes[tiles + low + k];
            kinds[4 * k] = (u8)kind;
            kinds[4 * k + 1] = NINE && (!SIXTEEN || counts[kind] <= 9);
        }
        if (low == from) wait_for_kernel_before();
        digits_of_chunk(x, low, high, count, columns, in_features, digits, steps, warp, lane);
        __syncthreads();
#if SPARSE
        if (!dense && low == from) {
            const int rows = (128 + splits - 1) / splits, first = d * 128 + split * rows;
            const int end = first + rows < (d + 1) * 128 ? first + rows : (d + 1) * 128;
            sparse_sums(x, row_ptr, (const Column*)col, value, sparse_scale, first, end, in_features, count, warp - 3 * KW,
                        lane, extra);
        }
#endif
        for (; dense && a < high; a += KW) {
            const int k = a - low;
            const u8* inputs = digits + k * columns * PITCH;
            const float* step = steps + k * BLOCKS * 8;
            const bool with_rest = a % 3 == part, nine = NINE && (!SIXTEEN || kinds[4 * k + 1]);
            const uint4 words = *(const uint4*)(book_of + 4 * kinds[4 * k]);
            const u32 book[4] = {words.x, words.y, words.z, words.w};
            int sums[3][BLOCKS][4], rest[BLOCKS][4];
            const int start = DIGITS == 1 ? 0 : MAGIC;
#pragma unroll
            for (int n = 0; n < BLOCKS; n++) {
#pragma unroll
                for (int e = 0; e < 4; e++) sums[0][n][e] = sums[1][n][e] = sums[2][n][e] = rest[n][e] = start;
            }
            u8* own = stages + stage * STAGE_BYTES;
            wait_for_copies();
            __syncwarp();
            multiply_tile(sums, own, nine, book, inputs, columns, fours, lane);
            if (with_rest) multiply_rest(rest, own, nine, book, inputs, columns, fours, lane);
#if TOKENS_TYPE == 3
            int* sums_of = (int*)y + (i64)d * 128;
#pragma unroll
            for (int n = 0; n < BLOCKS; n++) {
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int m = 8 * n + 2 * t + e;
                    if (m < count) {
                        int* line = sums_of + ((i64)(token + m) * across + a) * out_features;
#pragma unroll
                        for (int i = 0; i < 5; i++) line[40 * part + 5 * g + i] = sums[i / 2][n][2 * (i & 1) + e];
                        if (with_rest) line[120 + g] = rest[n][e];
                    }
                }
            }
            (void)step;
#else
#pragma unroll
            for (int i = 0; i < 5; i++) {
                const float factor = scale_of(own, i, 40 * part + 5 * g + i, a, across, g);
                const int e = 2 * (i & 1);
#pragma unroll
                for (int n = 0; n < BLOCKS; n++) {
                    const float2 s = *(const float2*)(step + 8 * n + 2 * t);
                    total[i / 2][n][e] += (float_of(sums[i / 2][n][e]) - MAGIC_FLOAT) * (factor * s.x);
                    total[i / 2][n][e + 1] += (float_of(sums[i / 2][n][e + 1]) - MAGIC_FLOAT) * (factor * s.y);
                }
            }
            if (with_rest) {
                const float factor = scale_of(own, 5, 120 + g, a, across, g);
#pragma unroll
                for (int n = 0; n < BLOCKS; n++) {
                    const float2 s = *(const float2*)(step + 8 * n + 2 * t);
                    rest_total[n][0] += (float_of(rest[n][0]) - MAGIC_FLOAT) * (factor * s.x);
                    rest_total[n][1] += (float_of(rest[n][1]) - MAGIC_FLOAT) * (factor * s.y);
                }
            }
#endif
            __syncwarp();
            if (a + STAGES * KW < to) {
                copy_codes(own, packed, later, scale + a + STAGES * KW, across, part, (a + STAGES * KW) % 3 == part, lane);
                if (a + (STAGES + 1) * KW < to) {
                    later = place_of(offsets, classes, counts, tiles + a + (STAGES + 1) * KW, uniform);
                }
            }
            copies_begun();
            stage = stage + 1 == STAGES ? 0 : stage + 1;
        }
    }
#if TOKENS_TYPE != 3
    // Add the warps and the digits in a fixed order; the sums take the place of the digits.
    __syncthreads();
#if SPARSE
    float kept[(128 * 8 + THREADS - 1) / THREADS];  // what a thread adds to its outputs
    const int rows_of = (128 + splits - 1) / splits;
#pragma unroll
    for (int k = 0; k < (128 * 8 + THREADS - 1) / THREADS; k++) {
        const int i = thread + k * THREADS, row = i & 127, m = i >> 7;
        kept[k] = m < count && row / rows_of == split ? extra[row * 8 + m] : 0.0f;
    }
    __syncthreads();
#endif
    float* all = (float*)shared;  // [KW, columns, SLOTS]
    if (dense) {
#pragma unroll
        for (int n = 0; n < BLOCKS; n++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int column = 8 * n + 2 * t + e;
                if (column < columns) {
                    float* line = all + (turn * columns + column) * SLOTS;
#pragma unroll
                    for (int i = 0; i < 5; i++) line[40 * part + 5 * g + i] = total[i / 2][n][2 * (i & 1) + e];
                    line[120 + 8 * part + g] = rest_total[n][e];
                }
            }
        }
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < (128 * 8 + THREADS - 1) / THREADS; k++) {
        const int i = thread + k * THREADS, row = i & 127, m = i >> 7;
        if (m >= count) break;
        float sum = 0.0f;
        for (int w = 0; w < KW; w++) {
#pragma unroll
            for (int digit = 0; digit < DIGITS; digit++) {
                const float* line = all + (w * columns + m * DIGITS + digit) * SLOTS;
                sum += row < 120 ? line[row] : line[row] + line[row + 8] + line[row + 16];
            }
        }
#if SPARSE
        sum += kept[k];
#endif
        const i64 place = (i64)(token + m) * out_features + d * 128 + row;
        if (splits == 1) {
            put(y, place, sum);
        } else {
            parts[(i64)split * tokens * out_features + place] = sum;
        }
    }
#endif
}

// y[token, out]: the sum of the parts of each row of tiles, in order. Grid: 128 outputs of a token. Block: 128 threads.
KERNEL(128) add_splits(const float* parts, void* y, i64 splits, i64 outputs) {
    const i64 at = (i64)blockIdx.x * 128 + threadIdx.x;
    let_next_kernel_begin();
    wait_for_kernel_before();
    float sum = 0.0f;
#pragma unroll 4
    for (int s = 0; s < (int)splits; s++) sum += parts[s * outputs + at];
    put(y, at, sum);
}

// y[token, out]: tile sums [token, across, out] times the tile's scale, added in the order of tiles, then times the token's
// scale. Every product and sum is rounded to float32, as in the accelerator. Grid: 32 rows, tokens. Block: 16 warps.
#define ADDED 128        // tiles at a time
#define ADDED_PITCH 130  // scales from row to row: 65 words, so that banks differ
KERNEL(512) add_tiles(
    const int* sums, const u16* scale, const float* token_scale, float* y, i64 out_count, i64 across_count
) {
    const int out_features = (int)out_count, across = (int)across_count;
    SHARED
    float* products = (float*)shared;                 // [ADDED, 32]
    u16* scales = (u16*)(products + ADDED * 32);      // [32, ADDED_PITCH]
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, first = blockIdx.x * 32;
    const i64 token = blockIdx.y;
    float total = 0.0f;
    let_next_kernel_begin();
    for (int low = 0; low < across; low += ADDED) {
        const int high = low + ADDED < across ? low + ADDED : across;
        u16 kept[8];
        int own[8];
#pragma unroll
        for (int k = 0; k < 8; k++) {  // 2 rows of each warp, 4 times 32 tiles
            const int a = low + 32 * (k & 3) + lane;
            kept[k] = a < high ? scale[(i64)(first + 2 * warp + (k >> 2)) * across + a] : 0;
        }
        if (low == 0) wait_for_kernel_before();
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const int a = low + warp + 16 * k;
            own[k] = a < high ? sums[(token * across + a) * out_features + first + lane] : 0;
        }
        if (low) __syncthreads();
#pragma unroll
        for (int k = 0; k < 8; k++) scales[(2 * warp + (k >> 2)) * ADDED_PITCH + 32 * (k & 3) + lane] = kept[k];
        __syncthreads();
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const int a = warp + 16 * k;
            products[a * 32 + lane] = __fmul_rn((float)own[k], half_to_float(scales[lane * ADDED_PITCH + a]));
        }
        __syncthreads();
        if (warp == 0) {
#pragma unroll 16
            for (int a = 0; a < high - low; a++) total = __fadd_rn(total, products[a * 32 + lane]);
        }
    }
    if (warp == 0) y[token * out_features + first + lane] = token_scale ? __fmul_rn(total, token_scale[token]) : total;
}
