#include "tests/golden/golden.h"

#include <unistd.h>

#include "base/buf.h"

/* A file image: header length, header text, data bytes 0, 1, 2, .. */
static size_t image(unsigned char *out, const char *header, size_t data)
{
    uint64_t n = strlen(header);
    memcpy(out, &n, 8);
    memcpy(out + 8, header, n);
    for (size_t i = 0; i < data; i++) out[8 + n + i] = (unsigned char)i;
    return 8 + n + data;
}

static lafs_status try(const char *header, size_t data, struct lafs_err *err)
{
    static unsigned char buf[65536];
    size_t size = image(buf, header, data);
    unsigned char *exact = malloc(size); /* so that a sanitizer sees any overrun */
    memcpy(exact, buf, size);
    struct lafs_st *st;
    lafs_status rc = lafs_st_parse(&st, exact, size, err);
    if (rc == LAFS_OK) lafs_st_close(st);
    else CHECK(st == NULL);
    free(exact);
    return rc;
}

#define REFUSED(header, data, say)                                                         \
    do {                                                                                   \
        struct lafs_err e_ = {0};                                                          \
        CHECK_INT(try(header, data, &e_), LAFS_FAILED);                                    \
        if (!strstr(e_.msg, say)) FAIL_("message '%s' does not say '%s'", e_.msg, say);    \
    } while (0)

TEST(reads_what_is_right)
{
    struct lafs_err e = {0};
    CHECK_INT(try("{}", 0, &e), LAFS_OK);
    CHECK_INT(try("{\"__metadata__\":{\"a\":\"b\"}}   ", 0, &e), LAFS_OK);
    CHECK_INT(try("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]}}", 8, &e), LAFS_OK);
    CHECK_INT(try("{\"a\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8, &e), LAFS_OK);
    CHECK_INT(try("{\"a\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[0,0]},"
                  "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 3, &e), LAFS_OK);
    /* The header may list tensors in another order than the data. */
    CHECK_INT(try("{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},"
                  "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 2, &e), LAFS_OK);
    /* Nothing lies between two, or before them, wherever it is listed. */
    CHECK_INT(try("{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                  "\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[3,4]},"
                  "\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[3,3]},"
                  "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 4, &e), LAFS_OK);
}

TEST(hostile_headers)
{
    REFUSED("", 0, "header");
    REFUSED("[]", 0, "JSON");
    REFUSED("{", 0, "header");
    REFUSED("{\"a\":1}", 0, "no object");
    REFUSED("{\"a\":{}}", 0, "lacks");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "data_offsets");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "data_offsets");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "data_offsets");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0.5,4]}}", 4, "data_offsets");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "beyond");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]}}", 4, "beyond");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "fit");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "fit");
    REFUSED("{\"a\":{\"dtype\":\"F128\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype");
    REFUSED("{\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "lacks");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "shape");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1e0],\"data_offsets\":[0,4]}}", 4, "bad shape");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, "bad shape");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1,-1],\"data_offsets\":[0,4]}}", 4, "bad shape");
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "dimensions");
    /* 2^32 x 2^32 elements: the product wraps to 0. */
    REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "impossible");
    REFUSED("{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "fit");
    REFUSED("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
            "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "overlap");
    REFUSED("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
            "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}", 3, "hole");
    REFUSED("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 3, "no tensor");
    REFUSED("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
            "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, "key 'a' twice");
    REFUSED("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice");
    REFUSED("{\"__metadata__\":{\"a\":1}}", 0, "string");
    REFUSED("{\"__metadata__\":[]}", 0, "__metadata__");
}

TEST(cut_anywhere)
{
    static unsigned char buf[512];
    size_t size = image(buf, "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 16);
    struct lafs_st *st;
    struct lafs_err e;
    for (size_t n = 0; n < size; n++) {
        unsigned char *exact = malloc(n ? n : 1);
        memcpy(exact, buf, n);
        CHECK_INT(lafs_st_parse(&st, exact, n, &e), LAFS_FAILED);
        free(exact);
    }
    /* A header length of 2^63 and more. */
    memset(buf, 0xff, 8);
    CHECK_INT(lafs_st_parse(&st, buf, size, &e), LAFS_FAILED);
}

TEST(round_trip)
{
    float a[6] = {1, -2, 3.5f, 4, 5, 6};
    uint8_t b[3] = {7, 8, 9};
    int64_t c = 123456789;
    struct lafs_st_tensor t[] = {{"w\"x", LAFS_F32, 2, {2, 3}, 6, a},
                                 {"b", LAFS_U8, 1, {3}, 3, b},
                                 {"n", LAFS_I64, 0, {0}, 1, &c},
                                 {"none", LAFS_F32, 2, {0, 4}, 0, NULL}};
    struct lafs_st_meta m[] = {{"architecture", "x\ny"}, {"licence", "\xc3\xa9"}};
    char path[] = "/tmp/lafs-st-XXXXXX";
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    close(fd);
    struct lafs_err e;
    struct lafs_st *st;
    REQUIRE_OK(lafs_st_write(path, t, 4, m, 2, &e), &e);
    REQUIRE_OK(lafs_st_open(&st, path, &e), &e);
    CHECK_INT(st->count, 4);
    CHECK_STR(st->tensor[0].name, "w\"x");
    CHECK_STR(lafs_st_meta(st, "architecture"), "x\ny");
    CHECK_STR(lafs_st_meta(st, "licence"), "\xc3\xa9");
    CHECK(lafs_st_meta(st, "nothing") == NULL);
    CHECK(lafs_st_find(st, "nothing") == NULL);
    CHECK(((uintptr_t)st->tensor[0].data & 63) == 0);
    const struct lafs_st_tensor *n = lafs_st_find(st, "n");
    REQUIRE(n != NULL);
    int64_t back;
    memcpy(&back, n->data, 8);
    CHECK_INT(back, c);
    CHECK_INT(n->ndim, 0);
    float out[6];
    REQUIRE_OK(lafs_st_read_f32(st, "w\"x", (int64_t[]){2, -1}, 2, out, &e), &e);
    CHECK(!memcmp(out, a, sizeof a));
    REQUIRE_OK(lafs_st_read_f32(st, "b", (int64_t[]){3}, 1, out, &e), &e);
    CHECK(out[2] == 9);
    CHECK_INT(lafs_st_read_f32(st, "b", (int64_t[]){4}, 1, out, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "(3)") && strstr(e.msg, "(4)"));
    lafs_st_close(st);

    t[1].name = "n";
    CHECK_INT(lafs_st_write(path, t, 4, NULL, 0, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "'n'") != NULL);
    t[1].name = "__metadata__";
    CHECK_INT(lafs_st_write(path, t, 4, NULL, 0, &e), LAFS_FAILED);
    t[1].name = "b";
    t[1].count = 2;
    CHECK_INT(lafs_st_write(path, t, 4, NULL, 0, &e), LAFS_FAILED);
    unlink(path);
    CHECK_INT(lafs_st_open(&st, path, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "cannot open") != NULL);
}

TEST(half_and_bfloat)
{
    uint16_t h[8] = {0x3c00, 0xc000, 0x0001, 0x8400, 0x7bff, 0x7c00, 0x0000, 0x03ff};
    float want[8] = {1, -2, 0x1p-24f, -0x1p-14f, 65504, INFINITY, 0, 1023 * 0x1p-24f}, got[8];
    unsigned char buf[256];
    const char *header = "{\"h\":{\"dtype\":\"F16\",\"shape\":[8],\"data_offsets\":[0,16]},"
                         "\"b\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[16,18]}}";
    size_t size = image(buf, header, 18);
    memcpy(buf + size - 18, h, 16);
    buf[size - 2] = 0x80, buf[size - 1] = 0xbf; /* -1 */
    struct lafs_st *st;
    struct lafs_err e;
    REQUIRE_OK(lafs_st_parse(&st, buf, size, &e), &e);
    REQUIRE_OK(lafs_st_read_f32(st, "h", (int64_t[]){8}, 1, got, &e), &e);
    for (int i = 0; i < 8; i++) CHECK(got[i] == want[i]);
    CHECK_INT(lafs_st_check_finite(lafs_st_find(st, "h"), &e), LAFS_FAILED);
    CHECK_INT(lafs_st_check_finite(lafs_st_find(st, "b"), &e), LAFS_OK);
    REQUIRE_OK(lafs_st_read_f32(st, "b", (int64_t[]){1}, 1, got, &e), &e);
    CHECK(got[0] == -1);
    lafs_st_close(st);
}

/* Each type by its name: bytes a value, and what all bits set stand for. */
TEST(every_type)
{
    static const struct {
        const char *name;
        int size;
        float ones;
    } t[] = {{"I64", 8, -1},   {"I32", 4, -1},       {"I16", 2, -1},     {"I8", 1, -1},       {"U8", 1, 255},
             {"BOOL", 1, 1},   {"U64", 8, 0x1p64f},  {"U32", 4, 0x1p32f}, {"U16", 2, 0xffff}, {"F64", 8, NAN},
             {"F32", 4, NAN},  {"F16", 2, NAN},      {"BF16", 2, NAN}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        unsigned char buf[128];
        char header[96];
        float got;
        struct lafs_st *st;
        struct lafs_err e;
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"%s\",\"shape\":[1],\"data_offsets\":[0,%d]}}", t[i].name,
                 t[i].size);
        size_t size = image(buf, header, (size_t)t[i].size);
        memset(buf + size - t[i].size, 0xff, (size_t)t[i].size);
        REQUIRE_OK(lafs_st_parse(&st, buf, size, &e), &e);
        REQUIRE_OK(lafs_st_read_f32(st, "a", (int64_t[]){1}, 1, &got, &e), &e);
        CHECK(got == t[i].ones || (isnan(got) && isnan(t[i].ones)));
        CHECK_STR(lafs_dtype_name(st->tensor[0].dtype), t[i].name);
        CHECK_INT(lafs_st_check_finite(&st->tensor[0], &e), isnan(got) ? LAFS_FAILED : LAFS_OK);
        CHECK_INT(lafs_st_read_weights(st, "a", (int64_t[]){1}, 1, &got, &e), isnan(got) ? LAFS_FAILED : LAFS_OK);
        if (isnan(got)) CHECK_STR(e.msg, "tensor 'a' holds a value that is not finite");
        lafs_st_close(st);
    }
}

/* The rule of the golden inputs, against the rows of pictures that the golden file itself stores. */
TEST(golden_rule)
{
    struct lafs_st *g = golden_open("augment");
    REQUIRE(g != NULL);
    float grid[243];
    golden_fill("augment.face.grid", 243, 0, 255, grid);
    float *noise = golden_new("augment.face.noise", 112 * 112 * 3, -6, 6);
    double rows[2 * 112 * 3];
    for (int i = 0; i < 2 * 112 * 3; i++) { /* row y, column x, channel c */
        int y = i / 336, x = i / 3 % 112, c = i % 3, x0 = 8 * x / 112;
        double fx = 8.0 * x / 112 - x0, fy = 8.0 * y / 112;
        double top = grid[x0 * 3 + c] * (1 - fx) + grid[(x0 + 1) * 3 + c] * fx;
        double low = grid[27 + x0 * 3 + c] * (1 - fx) + grid[27 + (x0 + 1) * 3 + c] * fx;
        double v = floor(top * (1 - fy) + low * fy + noise[i] + 0.5);
        rows[i] = v < 0 ? 0 : v > 255 ? 255 : v;
    }
    golden_check_f64(g, "input_face_first_rows", rows, 2 * 112 * 3, 0);
    free(noise);
    lafs_st_close(g);
}

TEST_MAIN(reads_what_is_right, hostile_headers, cut_anywhere, round_trip, half_and_bfloat, every_type,
          golden_rule)
