#include "base/hasher.h"

#include "base/rng.h"
#include "tests/test.h"

enum { BLOCK = 300000, BLOCKS = 80, BUFFERS = 4 };

/* Blocks of all sizes, to two sums in turn, as some buffers are filled and handed over: the digests are those of plain
 * hashing. */
TEST(as_plain_hashing)
{
    static unsigned char block[BUFFERS][BLOCK];
    struct lafs_sha256 beside[2], plain[2];
    struct lafs_hasher h;
    struct lafs_rng r;
    int threaded = 0;
    lafs_rng_init(&r, 3);
    lafs_hasher_init(&h);
    for (int k = 0; k < 2; k++) lafs_sha256_init(&beside[k]), lafs_sha256_init(&plain[k]);
    for (int i = 0; i < BLOCKS; i++) {
        unsigned char *b = block[i % BUFFERS];
        lafs_hasher_wait(&h, BUFFERS - 1);
        size_t size = (size_t)lafs_rng_below(&r, i % 3 ? BLOCK : 2000);
        for (size_t k = 0; k < size; k++) b[k] = (unsigned char)(k * 7 + (size_t)i + k / 251);
        int which = i / 5 & 1;
        size_t other = i % 4 ? 0 : size / (size_t)(1 + i % 7); /* for the other sum at the same time */
        threaded += i % 4 ? lafs_hasher_add(&h, &beside[which], b, size)
                          : lafs_hasher_add_two(&h, &beside[which], b, size, &beside[!which], b + size - other, other);
        if (i % 11 == 0) lafs_hasher_wait(&h, i % 3);
        lafs_sha256_add(&plain[which], b, size);
        lafs_sha256_add(&plain[!which], b + size - other, other);
    }
    CHECK(threaded > 0 && threaded < BLOCKS);
    lafs_hasher_wait(&h, 0);
    for (int k = 0; k < 2; k++) {
        char got[65], want[65];
        lafs_sha256_hex(&beside[k], got);
        lafs_sha256_hex(&plain[k], want);
        CHECK_STR(got, want);
    }
    lafs_hasher_release(&h);
}

/* What was begun is finished, whoever waits for it or not; what was never used can be released. */
TEST(released_at_work)
{
    static unsigned char block[8 << 20];
    struct lafs_sha256 beside, plain;
    struct lafs_hasher h;
    char got[65], want[65];
    lafs_sha256_init(&beside);
    lafs_sha256_init(&plain);
    lafs_hasher_init(&h);
    lafs_hasher_add(&h, &beside, block, sizeof block);
    lafs_hasher_release(&h);
    lafs_sha256_add(&plain, block, sizeof block);
    lafs_sha256_hex(&beside, got);
    lafs_sha256_hex(&plain, want);
    CHECK_STR(got, want);
    lafs_hasher_init(&h);
    lafs_hasher_wait(&h, 0);
    CHECK(lafs_hasher_add(&h, &beside, block, 10) == 0 && !h.running); /* a thread is not for small things */
    lafs_hasher_release(&h);
}

TEST_MAIN(as_plain_hashing, released_at_work)
