#include "base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/isa.h"

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* Round i, with the names of the eight words rotated instead of the words. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                                  \
    do {                                                                                                  \
        uint32_t t = h + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];      \
        d += t;                                                                                           \
        h = t + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));                    \
    } while (0)

static void plain_blocks(uint32_t s[8], const unsigned char *p, size_t count)
{
    for (; count > 0; count--, p += 64) {
        uint32_t w[64], a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
        for (int i = 16; i < 64; i++) {
            uint32_t x = w[i - 15], y = w[i - 2];
            w[i] = w[i - 16] + (ror(x, 7) ^ ror(x, 18) ^ x >> 3) + w[i - 7] + (ror(y, 17) ^ ror(y, 19) ^ y >> 10);
        }
        for (int i = 0; i < 64; i += 8) {
            ROUND(a, b, c, d, e, f, g, h, i);
            ROUND(h, a, b, c, d, e, f, g, i + 1);
            ROUND(g, h, a, b, c, d, e, f, i + 2);
            ROUND(f, g, h, a, b, c, d, e, i + 3);
            ROUND(e, f, g, h, a, b, c, d, i + 4);
            ROUND(d, e, f, g, h, a, b, c, i + 5);
            ROUND(c, d, e, f, g, h, a, b, i + 6);
            ROUND(b, c, d, e, f, g, h, a, i + 7);
        }
        s[0] += a, s[1] += b, s[2] += c, s[3] += d, s[4] += e, s[5] += f, s[6] += g, s[7] += h;
    }
}

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>

/* With the processor's SHA instructions. They keep a state as two vectors, ABEF and CDGH, and do two rounds each, of
 * which the next two must wait for several cycles: as many as two messages side by side fill. */
#define SHA_TARGET __attribute__((target("sha,sse4.1")))
#define SHA SHA_TARGET static inline __attribute__((always_inline))
#define EACH_LANE for (int l = 0; l < lanes; l++)

/* Rounds 4 i to 4 i + 3, of the words w. */
SHA void four_rounds(__m128i abef[2], __m128i cdgh[2], const __m128i w[2], int i, int lanes)
{
    __m128i k = _mm_loadu_si128((const __m128i *)(K + 4 * i)), wk[2];
    EACH_LANE wk[l] = _mm_add_epi32(w[l], k);
    EACH_LANE cdgh[l] = _mm_sha256rnds2_epu32(cdgh[l], abef[l], wk[l]);
    EACH_LANE abef[l] = _mm_sha256rnds2_epu32(abef[l], cdgh[l], _mm_shuffle_epi32(wk[l], 0x0e));
}

/* The message schedule: a becomes the 4 words that follow a, b, c, d. */
SHA void next_words(__m128i a[2], const __m128i b[2], const __m128i c[2], const __m128i d[2], int lanes)
{
    EACH_LANE a[l] = _mm_add_epi32(_mm_sha256msg1_epu32(a[l], b[l]), _mm_alignr_epi8(d[l], c[l], 4));
    EACH_LANE a[l] = _mm_sha256msg2_epu32(a[l], d[l]);
}

/* `count` blocks of each of 1 or 2 messages. */
SHA void sha_lanes(uint32_t *const h[2], const unsigned char *const from[2], size_t count, int lanes)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef[2], cdgh[2];
    const unsigned char *p[2];
    EACH_LANE
    {
        const __m128i *state = (const __m128i *)h[l];
        __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128(state), 0x1b);     /* A B C D, from the top */
        __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(state + 1), 0x1b); /* E F G H */
        abef[l] = _mm_unpackhi_epi64(hgfe, dcba);
        cdgh[l] = _mm_unpacklo_epi64(hgfe, dcba);
        p[l] = from[l];
    }
    for (; count > 0; count--) {
        __m128i abef0[2], cdgh0[2], w[4][2];
        for (int k = 0; k < 4; k++)
            EACH_LANE w[k][l] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p[l] + 16 * k)), swap);
        EACH_LANE abef0[l] = abef[l], cdgh0[l] = cdgh[l], p[l] += 64;
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            if (i >= 4) next_words(w[i & 3], w[(i + 1) & 3], w[(i + 2) & 3], w[(i + 3) & 3], lanes);
            four_rounds(abef, cdgh, w[i & 3], i, lanes);
        }
        EACH_LANE abef[l] = _mm_add_epi32(abef[l], abef0[l]), cdgh[l] = _mm_add_epi32(cdgh[l], cdgh0[l]);
    }
    EACH_LANE
    {
        __m128i *to = (__m128i *)h[l];
        _mm_storeu_si128(to, _mm_shuffle_epi32(_mm_unpackhi_epi64(cdgh[l], abef[l]), 0x1b));
        _mm_storeu_si128(to + 1, _mm_shuffle_epi32(_mm_unpacklo_epi64(cdgh[l], abef[l]), 0x1b));
    }
}

static int supported(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1;
}

#elif defined LAFS_ISA_ARM64
#include <arm_neon.h>
#include <sys/auxv.h>

#define SHA_TARGET __attribute__((target("arch=armv8-a+crypto")))
#define SHA SHA_TARGET static inline __attribute__((always_inline))
#define EACH_LANE for (int l = 0; l < lanes; l++)

/* `count` blocks of each of 1 or 2 messages: as above, with states as ABCD and EFGH. */
SHA void sha_lanes(uint32_t *const h[2], const unsigned char *const from[2], size_t count, int lanes)
{
    uint32x4_t abcd[2], efgh[2];
    const unsigned char *p[2];
    EACH_LANE abcd[l] = vld1q_u32(h[l]), efgh[l] = vld1q_u32(h[l] + 4), p[l] = from[l];
    for (; count > 0; count--) {
        uint32x4_t abcd0[2], efgh0[2], w[4][2];
        for (int k = 0; k < 4; k++)
            EACH_LANE w[k][l] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p[l] + 16 * k)));
        EACH_LANE abcd0[l] = abcd[l], efgh0[l] = efgh[l], p[l] += 64;
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            uint32x4_t *a = w[i & 3], *b = w[(i + 1) & 3], *c = w[(i + 2) & 3], *d = w[(i + 3) & 3], wk[2], before[2];
            if (i >= 4) EACH_LANE a[l] = vsha256su1q_u32(vsha256su0q_u32(a[l], b[l]), c[l], d[l]);
            EACH_LANE wk[l] = vaddq_u32(a[l], vld1q_u32(K + 4 * i)), before[l] = abcd[l];
            EACH_LANE abcd[l] = vsha256hq_u32(abcd[l], efgh[l], wk[l]);
            EACH_LANE efgh[l] = vsha256h2q_u32(efgh[l], before[l], wk[l]);
        }
        EACH_LANE abcd[l] = vaddq_u32(abcd[l], abcd0[l]), efgh[l] = vaddq_u32(efgh[l], efgh0[l]);
    }
    EACH_LANE vst1q_u32(h[l], abcd[l]), vst1q_u32(h[l] + 4, efgh[l]);
}

static int supported(void)
{
    enum { SHA2 = 1 << 6 };
    return (getauxval(AT_HWCAP) & SHA2) != 0;
}
#endif

#ifdef SHA_TARGET
SHA_TARGET static void sha_one(uint32_t h[8], const unsigned char *p, size_t count)
{
    sha_lanes((uint32_t *const[2]){h}, (const unsigned char *const[2]){p}, count, 1);
}

SHA_TARGET static void sha_two(uint32_t *const h[2], const unsigned char *const p[2], size_t count)
{
    sha_lanes(h, p, count, 2);
}

static _Atomic int known; /* whether there are SHA instructions: 0: not asked yet, 1: no, 2: yes */

static int has_sha(void)
{
    if (!known) known = supported() ? 2 : 1;
    return known == 2;
}

static void blocks(uint32_t h[8], const unsigned char *p, size_t count)
{
    if (has_sha()) sha_one(h, p, count);
    else plain_blocks(h, p, count);
}

static void blocks_of_two(uint32_t *const h[2], const unsigned char *const p[2], size_t count)
{
    if (has_sha()) sha_two(h, p, count);
    else
        for (int l = 0; l < 2; l++) plain_blocks(h[l], p[l], count);
}
void lafs_sha256_plain(int plain) { known = plain; }
#else
void lafs_sha256_plain(int plain) { (void)plain; }

static void blocks(uint32_t h[8], const unsigned char *p, size_t count) { plain_blocks(h, p, count); }

static void blocks_of_two(uint32_t *const h[2], const unsigned char *const p[2], size_t count)
{
    for (int l = 0; l < 2; l++) plain_blocks(h[l], p[l], count);
}
#endif

void lafs_sha256_init(struct lafs_sha256 *s)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->h, start, sizeof start);
    s->bytes = 0;
}

/* Completes the block that was begun; gives the bytes taken for that. */
static size_t complete(struct lafs_sha256 *s, const unsigned char *p, size_t size)
{
    size_t have = s->bytes % 64, n = !have ? 0 : 64 - have < size ? 64 - have : size;
    if (n == 0) return 0;
    memcpy(s->block + have, p, n);
    s->bytes += n;
    if (have + n == 64) blocks(s->h, s->block, 1);
    return n;
}

/* At the beginning of a block. */
static void add_rest(struct lafs_sha256 *s, const unsigned char *p, size_t size)
{
    blocks(s->h, p, size / 64);
    if (size % 64) memcpy(s->block, p + size / 64 * 64, size % 64);
    s->bytes += size;
}

void lafs_sha256_add(struct lafs_sha256 *s, const void *data, size_t size)
{
    size_t n = complete(s, data, size);
    if (n < size) add_rest(s, (const unsigned char *)data + n, size - n);
}

void lafs_sha256_add_two(struct lafs_sha256 *s, const void *data, size_t size, struct lafs_sha256 *t, const void *more,
                         size_t more_size)
{
    size_t n = complete(s, data, size), m = complete(t, more, more_size);
    size_t count = (size - n < more_size - m ? size - n : more_size - m) / 64;
    const unsigned char *p = data, *q = more;
    if (count) blocks_of_two((uint32_t *const[2]){s->h, t->h}, (const unsigned char *const[2]){p + n, q + m}, count);
    s->bytes += 64 * count;
    t->bytes += 64 * count;
    n += 64 * count;
    m += 64 * count;
    if (n < size) add_rest(s, p + n, size - n);
    if (m < more_size) add_rest(t, q + m, more_size - m);
}

void lafs_sha256_hex(struct lafs_sha256 *s, char hex[65])
{
    static const unsigned char pad[64] = {0x80};
    uint64_t bits = s->bytes * 8;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)(bits >> (56 - 8 * i));
    lafs_sha256_add(s, pad, (119 - s->bytes % 64) % 64 + 1);
    lafs_sha256_add(s, length, 8);
    for (int i = 0; i < 64; i++) hex[i] = "0123456789abcdef"[s->h[i / 8] >> (28 - 4 * (i % 8)) & 15];
    hex[64] = 0;
}

lafs_status lafs_sha256_file(const char *path, char hex[65], struct lafs_err *err)
{
    unsigned char buf[65536];
    struct lafs_sha256 s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", path, lafs_strerror(errno));
    struct stat sb;
    if (fstat(fd, &sb) == 0 && !S_ISREG(sb.st_mode) && !S_ISDIR(sb.st_mode)) {
        close(fd);
        return lafs_fail(err, LAFS_FAILED, "'%s' gives its bytes once, and they are needed twice: give a file", path);
    }
    lafs_sha256_init(&s);
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) lafs_sha256_add(&s, buf, (size_t)n);
    lafs_status st = n < 0 ? lafs_fail(err, LAFS_FAILED, "cannot read '%s': %s", path, lafs_strerror(errno)) : LAFS_OK;
    close(fd);
    if (st == LAFS_OK) lafs_sha256_hex(&s, hex);
    return st;
}
