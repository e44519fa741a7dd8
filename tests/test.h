/* The harness of C tests: one program per tested file.
 *
 *     #include "tests/test.h"
 *     TEST(adds) { CHECK(1 + 1 == 2); CHECK_INT(1 + 1, 2); }
 *     TEST_MAIN(adds)
 *
 * Prints "ok NAME" or "FAIL NAME" per test; exits 1 if any failed, and 1 if none ran. A test that cannot run here calls SKIP(why).
 */
#ifndef LAFS_TESTS_TEST_H
#define LAFS_TESTS_TEST_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_failed_, test_skipped_;

#define TEST(name) static void test_##name(void)
#define FAIL_(...)                                                    \
    do {                                                              \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);               \
        fprintf(stderr, __VA_ARGS__);                                 \
        fputc('\n', stderr);                                          \
        test_failed_ = 1;                                             \
    } while (0)
#define CHECK(cond) do { if (!(cond)) FAIL_("not true: %s", #cond); } while (0)
#define REQUIRE(cond) do { if (!(cond)) { FAIL_("not true: %s", #cond); return; } } while (0)
#define CHECK_INT(got, want) do { long long g_ = (got), w_ = (want); if (g_ != w_) FAIL_("%s is %lld, not %lld", #got, g_, w_); } while (0)
#define CHECK_STR(got, want) do { const char *g_ = (got), *w_ = (want); if (!g_ || strcmp(g_, w_)) FAIL_("%s is '%s', not '%s'", #got, g_ ? g_ : "NULL", w_); } while (0)
#define CHECK_NEAR(got, want, tol) do { double g_ = (got), w_ = (want); if (!(fabs(g_ - w_) <= (tol))) FAIL_("%s is %.9g, not %.9g (off by %.3g)", #got, g_, w_, fabs(g_ - w_)); } while (0)
#define REQUIRE_OK(expr, err) do { if ((expr) != LAFS_OK) { FAIL_("%s: %s", #expr, (err)->msg); return; } } while (0)
#define SKIP(why) do { printf("skip %s: %s\n", __func__ + 5, why); test_skipped_ = 1; return; } while (0)

struct test_case_ { const char *name; void (*run)(void); };
static int test_main_(const struct test_case_ *t, int n)
{
    int bad = 0;
    for (int i = 0; i < n; i++) {
        test_failed_ = test_skipped_ = 0;
        t[i].run();
        if (test_failed_) { printf("FAIL %s\n", t[i].name); bad = 1; }
        else if (!test_skipped_) printf("ok %s\n", t[i].name);
        fflush(stdout);
    }
    return bad || n == 0;
}
#define T1_(a) {#a, test_##a}
#define TEST_MAIN(...) int main(void) { static const struct test_case_ t[] = {TEST_LIST_(__VA_ARGS__)}; return test_main_(t, (int)(sizeof t / sizeof *t)); }
#define TEST_LIST_(...) TEST_SEL_(__VA_ARGS__, L24_, L23_, L22_, L21_, L20_, L19_, L18_, L17_, L16_, L15_, L14_, L13_, L12_, L11_, L10_, L9_, L8_, L7_, L6_, L5_, L4_, L3_, L2_, L1_)(__VA_ARGS__)
#define TEST_SEL_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, N, ...) N
#define L1_(a) T1_(a)
#define L2_(a, ...) T1_(a), L1_(__VA_ARGS__)
#define L3_(a, ...) T1_(a), L2_(__VA_ARGS__)
#define L4_(a, ...) T1_(a), L3_(__VA_ARGS__)
#define L5_(a, ...) T1_(a), L4_(__VA_ARGS__)
#define L6_(a, ...) T1_(a), L5_(__VA_ARGS__)
#define L7_(a, ...) T1_(a), L6_(__VA_ARGS__)
#define L8_(a, ...) T1_(a), L7_(__VA_ARGS__)
#define L9_(a, ...) T1_(a), L8_(__VA_ARGS__)
#define L10_(a, ...) T1_(a), L9_(__VA_ARGS__)
#define L11_(a, ...) T1_(a), L10_(__VA_ARGS__)
#define L12_(a, ...) T1_(a), L11_(__VA_ARGS__)
#define L13_(a, ...) T1_(a), L12_(__VA_ARGS__)
#define L14_(a, ...) T1_(a), L13_(__VA_ARGS__)
#define L15_(a, ...) T1_(a), L14_(__VA_ARGS__)
#define L16_(a, ...) T1_(a), L15_(__VA_ARGS__)
#define L17_(a, ...) T1_(a), L16_(__VA_ARGS__)
#define L18_(a, ...) T1_(a), L17_(__VA_ARGS__)
#define L19_(a, ...) T1_(a), L18_(__VA_ARGS__)
#define L20_(a, ...) T1_(a), L19_(__VA_ARGS__)
#define L21_(a, ...) T1_(a), L20_(__VA_ARGS__)
#define L22_(a, ...) T1_(a), L21_(__VA_ARGS__)
#define L23_(a, ...) T1_(a), L22_(__VA_ARGS__)
#define L24_(a, ...) T1_(a), L23_(__VA_ARGS__)
#endif
