#include "base/sha256.h"

#include "base/rng.h"
#include "tests/test.h"

static void check(const char *text, size_t n, const char *want)
{
    /* Every way of cutting the input in two gives the same digest, with and without special instructions. */
    for (size_t cut = 0; cut <= 2 * n + 1; cut++) {
        lafs_sha256_plain(cut > n);
        struct lafs_sha256 s;
        char hex[65];
        lafs_sha256_init(&s);
        lafs_sha256_add(&s, text, cut % (n + 1));
        lafs_sha256_add(&s, text + cut % (n + 1), n - cut % (n + 1));
        lafs_sha256_hex(&s, hex);
        lafs_sha256_plain(0);
        CHECK_STR(hex, want);
    }
}

TEST(known_answers)
{
    check("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *long_one = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    check(long_one, strlen(long_one), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(a_million_bytes)
{
    struct lafs_sha256 s;
    char a[1000], hex[65];
    memset(a, 'a', sizeof a);
    lafs_sha256_init(&s);
    for (int i = 0; i < 1000; i++) lafs_sha256_add(&s, a, sizeof a);
    lafs_sha256_hex(&s, hex);
    CHECK_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Two messages side by side, however they are cut and wherever their blocks stand: as each alone. */
TEST(two_at_once)
{
    static unsigned char data[2][3000];
    struct lafs_rng r;
    int wrong = 0;
    lafs_rng_init(&r, lafs_rng_key(8, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < 6000; i++) data[i & 1][i / 2] = (unsigned char)lafs_rng_below(&r, 256);
    for (int round = 0; round < 2000; round++) {
        struct lafs_sha256 beside[2], alone[2];
        char got[65], want[65];
        size_t at[2] = {0, 0}, n[2];
        for (int l = 0; l < 2; l++) lafs_sha256_init(&beside[l]), lafs_sha256_init(&alone[l]);
        for (int part = 0; part < 4; part++) {
            for (int l = 0; l < 2; l++) n[l] = (size_t)lafs_rng_below(&r, round % 3 ? 700 : 70);
            lafs_sha256_plain(round % 5 == 0);
            lafs_sha256_add_two(&beside[0], data[0] + at[0], n[0], &beside[1], data[1] + at[1], n[1]);
            for (int l = 0; l < 2; l++) at[l] += n[l];
        }
        for (int l = 0; l < 2; l++) {
            lafs_sha256_plain(1);
            lafs_sha256_add(&alone[l], data[l], at[l]);
            lafs_sha256_hex(&alone[l], want);
            lafs_sha256_hex(&beside[l], got);
            wrong += strcmp(got, want) != 0;
        }
        lafs_sha256_plain(0);
    }
    CHECK_INT(wrong, 0);
}

TEST(missing_file)
{
    char hex[65];
    struct lafs_err e;
    CHECK(lafs_sha256_file("/nonexistent/file", hex, &e) == LAFS_FAILED);
    CHECK_STR(e.msg, "cannot open '/nonexistent/file': no such file or directory");
}

TEST_MAIN(known_answers, a_million_bytes, two_at_once, missing_file)
