#include "format/verifyset.h"

#include "tests/test.h"

/* Written by Python 2.7 with NumPy 1.16, Python 3.11 with NumPy 1.26 and 2.4: two pairs, the first of one person, of the
 * images ff d8 ff 00, ff d8 ff 01 41, ff d8 ff 02 41 41, ff d8 ff 03 41 41 41. */
#define CORPUS "tests/fuzz/corpus/verifyset/"

static void check_set(const struct lafs_verifyset *v, const char *name)
{
    if (v->pairs != 2 || !v->same[0] || v->same[1]) FAIL_("%s: other pairs", name);
    for (size_t i = 0; i < 4 && v->pairs == 2; i++) {
        unsigned char want[8] = {0xff, 0xd8, 0xff, (unsigned char)i, 'A', 'A', 'A'};
        if (v->image[i].size != 4 + i || memcmp(v->image[i].data, want, 4 + i)) FAIL_("%s: image %zu", name, i);
    }
}

TEST(what_every_python_wrote)
{
    static const char *const name[] = {
        "py2-0-bytes", "py2-0-array", "py2-1-bytearray", "py2-2-bytes", "py2-2-array-scalar", "py2-2-array-array",
        "py3-0-bytes", "py3-1-bytearray", "py3-2-bytes", "py3-2-unicode", "py3-3-bytes", "py3-4-bytes", "py3-5-bytearray",
        "np1-0-array", "np1-2-array-scalar", "np1-4-array-array", "np1-5-array-scalar",
        "np2-1-array", "np2-3-array-array", "np2-4-array-scalar", "np2-5-array-array"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        struct lafs_verifyset v;
        struct lafs_buf b;
        struct lafs_err err = {0};
        char path[128];
        lafs_buf_init(&b);
        snprintf(path, sizeof path, CORPUS "%s", name[i]);
        REQUIRE_OK(lafs_buf_read_file(&b, path, 1 << 20, &err), &err);
        if (lafs_verifyset_parse(&v, b.data, b.size, &err) != LAFS_OK) FAIL_("%s: %s", name[i], err.msg);
        else check_set(&v, name[i]);
        lafs_verifyset_release(&v);
        lafs_buf_release(&b);
    }
}

TEST(what_we_write)
{
    static const char image[][8] = {"\xff\xd8\xff", "\xff\xd8\xff\1A", "\xff\xd8\xff\2AA", "\xff\xd8\xff\3AAA"};
    struct lafs_verifyset v;
    struct lafs_buf b;
    struct lafs_err err = {0};
    lafs_buf_init(&b);
    lafs_verifyset_begin(&b);
    for (size_t i = 0; i < 4; i++) lafs_verifyset_put(&b, image[i], 4 + i);
    lafs_verifyset_end(&b, (const uint8_t[]){1, 0}, 2);
    REQUIRE_OK(lafs_buf_check(&b, &err), &err);
    REQUIRE_OK(lafs_verifyset_parse(&v, b.data, b.size, &err), &err);
    check_set(&v, "ours");
    CHECK_INT(v.pickle->used, b.size);
    CHECK_INT(v.pickle->protocol, 2);
    lafs_verifyset_release(&v);
    for (size_t n = 0; n < b.size; n++) CHECK_INT(lafs_verifyset_parse(&v, b.data, n, &err), LAFS_CUT);
    /* Every byte there is, and none at all. */
    unsigned char all[256];
    for (int i = 0; i < 256; i++) all[i] = (unsigned char)i;
    lafs_buf_clear(&b);
    lafs_verifyset_begin(&b);
    for (size_t i = 0; i < 2; i++) lafs_verifyset_put(&b, all, i * sizeof all);
    lafs_verifyset_end(&b, (const uint8_t[]){1}, 1);
    REQUIRE_OK(lafs_buf_check(&b, &err), &err);
    REQUIRE_OK(lafs_verifyset_parse(&v, b.data, b.size, &err), &err);
    CHECK_INT(v.image[0].size, 0);
    CHECK(v.image[1].size == sizeof all && !memcmp(v.image[1].data, all, sizeof all));
    lafs_verifyset_release(&v);
    lafs_buf_release(&b);
}

/* One text as every image, and a pickle that is all instructions: no more memory than the file is worth. */
TEST(memory)
{
    enum { LONG = 4096, PAIRS = 2000 };
    struct lafs_verifyset v;
    struct lafs_buf b;
    struct lafs_err err = {0};
    lafs_buf_init(&b);
    lafs_buf_puts(&b, "](V");
    for (int i = 0; i < LONG; i++) lafs_buf_putc(&b, i % 2 ? 'x' : 0xe9);
    lafs_buf_put(&b, "\nq\0V\xff\nq\1", 8);
    for (int i = 2; i < 2 * PAIRS; i++) lafs_buf_put(&b, i % 2 ? "h\1" : "h\0", 2);
    lafs_buf_puts(&b, "e](");
    for (int i = 0; i < PAIRS; i++) lafs_buf_putc(&b, 0x88);
    lafs_buf_put(&b, "e\x86.", 3);
    REQUIRE_OK(lafs_verifyset_parse(&v, b.data, b.size, &err), &err);
    CHECK_INT(v.pairs, PAIRS);
    CHECK(v.text.cap <= 2 * b.size);
    for (int i = 0; i < 2 * PAIRS; i++) CHECK_INT(v.image[i].size, i % 2 ? 1 : LONG);
    CHECK(!memcmp(v.image[2 * PAIRS - 2].data, "\xe9x\xe9x", 4) && !memcmp(v.image[2 * PAIRS - 1].data, "\xff", 1));
    lafs_verifyset_release(&v);
    lafs_buf_clear(&b);
    for (int i = 0; i < 1500000; i++) lafs_buf_puts(&b, "N0");
    CHECK_INT(lafs_verifyset_parse(&v, b.data, b.size, &err), LAFS_FAILED);
    CHECK_STR(err.msg, "a pickle of more than 1142326 instructions");
    lafs_buf_release(&b);
}

static void check_refused(const char *pickle, size_t size, const char *want)
{
    struct lafs_verifyset v;
    struct lafs_err err = {0};
    CHECK_INT(lafs_verifyset_parse(&v, pickle, size, &err), LAFS_FAILED);
    CHECK_STR(err.msg, want);
}
#define REFUSED(pickle, want) check_refused(pickle, sizeof pickle - 1, want)

TEST(other_pickles)
{
    REFUSED("}.", "no verification set: it is a dictionary");
    REFUSED("](]e.", "no verification set: it is a list");
    REFUSED("}]\x86.", "no verification set: what should be its images is a dictionary");
    REFUSED("]}\x86.", "no verification set: what should be its answers is a dictionary");
    REFUSED("]]\x86.", "a verification set without pairs");
    REFUSED("](U\1aU\1be]\x86.", "no verification set: 2 images and 0 answers");
    REFUSED("](U\1aK\1e](\x88" "e\x86.", "no verification set: one of its images is an integer");
    REFUSED("](U\1aU\1be](K\2e\x86.", "no verification set: one of its answers is an integer");
    REFUSED("](V\\u20ac\nU\1be](\x88" "e\x86.", "no verification set: one of its images is a text");
    REFUSED("cnumpy\nndarray\n.", "no verification set: it is numpy.ndarray");
    REFUSED("cnumpy\nload\n.", "refused: it calls for numpy.load");
    /* An array of another type, and one whose shape does not fit its bytes. */
    REFUSED("](cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f4'\ntRS'abcd'\ntRNe](\x88" "e\x86.",
            "no verification set: one of its images is a call of numpy.core.multiarray.scalar");
    REFUSED("](cnumpy.core.numeric\n_frombuffer\n(S'abc'\ncnumpy\ndtype\n(S'u1'\ntR(I4\ntS'C'\ntRNe](\x88" "e\x86.",
            "no verification set: one of its images is a call of numpy.core.numeric._frombuffer");
}

TEST_MAIN(what_every_python_wrote, what_we_write, memory, other_pickles)
