#include "tests/test.h"

#include "format/npy.h"

TEST(headers)
{
    struct lafs_err err = {0};
    unsigned char h[LAFS_NPY_HEADER];
    REQUIRE_OK(lafs_npy_header(h, "<f4", (int64_t[]){1000, 5, 2}, 3, &err), &err);
    CHECK(memcmp(h, "\x93NUMPY\x01\x00\xf6\x00", 10) == 0); /* 246 bytes follow */
    const char want[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 5, 2), }  ";
    CHECK(memcmp(h + 10, want, sizeof want - 1) == 0);
    CHECK(h[LAFS_NPY_HEADER - 1] == '\n' && h[LAFS_NPY_HEADER - 2] == ' ');
    REQUIRE_OK(lafs_npy_header(h, "|u1", (int64_t[]){7}, 1, &err), &err);
    CHECK(strstr((char *)h + 10, "'shape': (7,), }") != NULL);
    REQUIRE_OK(lafs_npy_header(h, "<f8", NULL, 0, &err), &err);
    CHECK(strstr((char *)h + 10, "'shape': (), }") != NULL);
    int64_t big[LAFS_NPY_DIMS];
    for (int i = 0; i < LAFS_NPY_DIMS; i++) big[i] = INT64_MAX;
    REQUIRE_OK(lafs_npy_header(h, "<U1000", big, LAFS_NPY_DIMS, &err), &err); /* not one byte more has room */
    CHECK(memcmp(h + LAFS_NPY_HEADER - 5, "), }\n", 5) == 0);
    CHECK(lafs_npy_header(h, "<U10000", big, LAFS_NPY_DIMS, &err) == LAFS_FAILED);
    CHECK(lafs_npy_header(h, "<U100000", big, 1, &err) == LAFS_FAILED);
    REQUIRE_OK(lafs_npy_header(h, "<U10000", (int64_t[]){0, 3}, 2, &err), &err);
    CHECK(strstr((char *)h + 10, "'shape': (0, 3), }") != NULL);
    CHECK(lafs_npy_header(h, "<f4", big, LAFS_NPY_DIMS + 1, &err) == LAFS_FAILED);
    CHECK(lafs_npy_header(h, "<f4", (int64_t[]){-1}, 1, &err) == LAFS_FAILED);
}

TEST_MAIN(headers)
