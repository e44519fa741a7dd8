#include "tests/test.h"

#include "base/rng.h"
#include "image/image.h"

/* The files of tests/fuzz/corpus/jpeg show 48 x 32 pixels in four fields: 32 x 16 red, 16 x 16 green, below them blue
 * and yellow. */
static const int colour[4][3] = {{200, 40, 40}, {40, 180, 60}, {50, 60, 210}, {220, 210, 60}};

static void load(const char *name, struct lafs_buf *b)
{
    char path[256];
    struct lafs_err err = {0};
    snprintf(path, sizeof path, "tests/fuzz/corpus/jpeg/%s", name);
    lafs_buf_init(b);
    if (lafs_buf_read_file(b, path, 1 << 20, &err) != LAFS_OK) FAIL_("%s", err.msg);
}

static int near_colour(const struct lafs_image *im, int x, int y, const int want[3], int tol)
{
    const uint8_t *p = im->px + ((size_t)y * (size_t)im->w + (size_t)x) * 3;
    for (int k = 0; k < 3; k++)
        if (abs(p[k] - want[k]) > tol) return 0;
    return 1;
}

static void check_fields(const char *name, int tol)
{
    struct lafs_buf b;
    struct lafs_image im = {0};
    struct lafs_err err = {0};
    load(name, &b);
    if (lafs_jpeg_decode(&im, b.data, b.size, 0, &err) != LAFS_OK) FAIL_("%s: %s", name, err.msg);
    else {
        CHECK_INT(im.w, 48);
        CHECK_INT(im.h, 32);
        for (int i = 0; i < 4; i++)
            if (!near_colour(&im, i & 1 ? 42 : 10, i & 2 ? 26 : 6, colour[i], tol) ||
                !near_colour(&im, i & 1 ? 47 : 0, i & 2 ? 31 : 0, colour[i], tol))
                FAIL_("%s: field %d", name, i);
    }
    lafs_image_release(&im);
    lafs_buf_release(&b);
}

TEST(colour_spaces)
{
    check_fields("rgb.jpg", 4);
    check_fields("plain-rgb.jpg", 4);
    check_fields("progressive.jpg", 4);
    check_fields("arithmetic.jpg", 4);
    check_fields("cmyk.jpg", 6);
    check_fields("cmyk-adobe.jpg", 6);
    check_fields("ycck.jpg", 6);
}

TEST(grey)
{
    struct lafs_buf b;
    struct lafs_image im = {0};
    struct lafs_err err = {0};
    load("grey.jpg", &b);
    REQUIRE_OK(lafs_jpeg_decode(&im, b.data, b.size, 0, &err), &err);
    for (int i = 0; i < 4; i++) {
        int l = (299 * colour[i][0] + 587 * colour[i][1] + 114 * colour[i][2] + 500) / 1000, want[3] = {l, l, l};
        CHECK(near_colour(&im, i & 1 ? 42 : 10, i & 2 ? 26 : 6, want, 2));
    }
    lafs_image_release(&im);
    lafs_buf_release(&b);
}

/* jpeg (b) with an APP1 segment behind its first two bytes. */
static void with_app1(const struct lafs_buf *b, const void *seg, size_t n, struct lafs_buf *out)
{
    lafs_buf_init(out);
    lafs_buf_put(out, b->data, 2);
    lafs_buf_put(out, "\xFF\xE1", 2);
    lafs_buf_putc(out, (int)((n + 2) >> 8));
    lafs_buf_putc(out, (int)((n + 2) & 255));
    lafs_buf_put(out, seg, n);
    lafs_buf_put(out, b->data + 2, b->size - 2);
}

static size_t exif(unsigned char *p, int big, int type, int value)
{
    static const unsigned char le[] =
        "Exif\0\0II\x2a\0\x08\0\0\0\x02\0\x0f\x01\x02\0\x01\0\0\0\0\0\0\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0";
    static const unsigned char be[] =
        "Exif\0\0MM\0\x2a\0\0\0\x08\0\x02\x01\x0f\0\x02\0\0\0\x01\0\0\0\0\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0";
    memcpy(p, big ? be : le, sizeof le - 1);
    p[big ? 31 : 30] = (unsigned char)type;
    p[big ? (type == 4 ? 39 : 37) : 36] = (unsigned char)value;
    return sizeof le - 1;
}

TEST(exif_orientation)
{
    /* Where the displayed corners come from: field numbers at top-left, top-right, bottom-left, bottom-right. */
    static const int corner[9][4] = {{0}, {0, 1, 2, 3}, {1, 0, 3, 2}, {3, 2, 1, 0}, {2, 3, 0, 1},
                                     {0, 2, 1, 3}, {2, 0, 3, 1}, {3, 1, 2, 0}, {1, 3, 0, 2}};
    struct lafs_buf b, e;
    struct lafs_err err = {0};
    load("rgb.jpg", &b);
    for (int o = 1; o <= 8; o++)
        for (int form = 0; form < 4; form++) {
            unsigned char seg[64];
            with_app1(&b, seg, exif(seg, form & 1, form & 2 ? 4 : 3, o), &e);
            struct lafs_image im = {0};
            int w, h;
            REQUIRE_OK(lafs_jpeg_decode(&im, e.data, e.size, 0, &err), &err);
            REQUIRE_OK(lafs_jpeg_size(e.data, e.size, &w, &h, &err), &err);
            CHECK_INT(im.w, o >= 5 ? 32 : 48);
            CHECK_INT(im.h, o >= 5 ? 48 : 32);
            CHECK(w == im.w && h == im.h);
            for (int i = 0; i < 4; i++)
                if (!near_colour(&im, i & 1 ? im.w - 6 : 5, i & 2 ? im.h - 6 : 5, colour[corner[o][i]], 6))
                    FAIL_("orientation %d, form %d, corner %d", o, form, i);
            lafs_image_release(&im);
            lafs_buf_release(&e);
        }
    lafs_buf_release(&b);
}

TEST(broken_exif_is_ignored)
{
    struct lafs_buf b, e;
    struct lafs_err err = {0};
    load("rgb.jpg", &b);
    struct lafs_rng r;
    lafs_rng_init(&r, 1);
    for (int i = 0; i < 3000; i++) {
        unsigned char seg[64];
        size_t n = exif(seg, i & 1, 3, i % 3 == 0 ? 9 : 6);
        for (int k = 0; k < 3; k++) seg[6 + lafs_rng_below(&r, n - 6)] = (unsigned char)lafs_rng_u32(&r);
        n = 1 + lafs_rng_below(&r, n);
        unsigned char *exact = malloc(n); /* so that a sanitizer sees every byte too far */
        memcpy(exact, seg, n);
        with_app1(&b, exact, n, &e);
        free(exact);
        int w, h;
        REQUIRE_OK(lafs_jpeg_size(e.data, e.size, &w, &h, &err), &err);
        CHECK(w * h == 48 * 32);
        lafs_buf_release(&e);
    }
    lafs_buf_release(&b);
}

TEST(every_truncation_is_bad)
{
    static const char *const file[] = {"rgb.jpg", "progressive.jpg", "grey.jpg", "ycck.jpg"};
    for (int f = 0; f < 4; f++) {
        struct lafs_buf b;
        load(file[f], &b);
        for (size_t n = 0; n < b.size; n++) {
            struct lafs_image im = {0};
            struct lafs_err err = {0};
            unsigned char *cut = malloc(n + 1);
            memcpy(cut, b.data, n);
            lafs_status st = lafs_jpeg_decode(&im, cut, n, 0, &err);
            if (st != LAFS_BAD_RECORD || im.px || !err.msg[0])
                FAIL_("%s cut to %zu of %zu: %d", file[f], n, b.size, st);
            free(cut);
            lafs_image_release(&im);
        }
        lafs_buf_release(&b);
    }
}

/* The offset of the first marker FF xx. */
static size_t find_marker(const struct lafs_buf *b, int marker)
{
    for (size_t i = 2; i + 4 < b->size; i += 2 + (size_t)(b->data[i + 2] << 8 | b->data[i + 3]))
        if (b->data[i + 1] == marker) return i;
    return 0;
}

TEST(corrupt_data_is_bad_and_stray_bytes_are_not)
{
    struct lafs_buf b, e;
    struct lafs_image im = {0};
    struct lafs_err err = {0};
    load("rgb.jpg", &b);
    size_t dqt = find_marker(&b, 0xDB);
    REQUIRE(dqt > 0);
    lafs_buf_init(&e); /* bytes between two markers, and behind the end */
    lafs_buf_put(&e, b.data, dqt);
    lafs_buf_put(&e, "stray", 5);
    lafs_buf_put(&e, b.data + dqt, b.size - dqt);
    lafs_buf_put(&e, "tail", 4);
    REQUIRE_OK(lafs_jpeg_decode(&im, e.data, e.size, 0, &err), &err);
    lafs_buf_release(&e);

    size_t sos = find_marker(&b, 0xDA);
    REQUIRE(sos > 0);
    int bad = 0, tried = 0;
    for (size_t i = sos + 12; i + 2 < b.size; i++, tried++) { /* a marker inside the data ends it too early */
        unsigned char keep[2] = {b.data[i], b.data[i + 1]};
        b.data[i] = 0xFF, b.data[i + 1] = 0xD9;
        bad += lafs_jpeg_decode(&im, b.data, b.size, 0, &err) == LAFS_BAD_RECORD;
        b.data[i] = keep[0], b.data[i + 1] = keep[1];
    }
    CHECK(tried > 20);
    if (bad < tried - 2) FAIL_("%d of %d cut scans found", bad, tried); /* the last bytes may be padding */
    lafs_image_release(&im);
    lafs_buf_release(&b);
}

TEST(no_jpeg)
{
    struct lafs_image im = {0};
    struct lafs_err err = {0};
    CHECK_INT(lafs_jpeg_decode(&im, "\x89PNG\r\n\x1a\n", 8, 0, &err), LAFS_BAD_RECORD);
    CHECK(!strncmp(err.msg, "not a JPEG", 10));
    CHECK_INT(lafs_jpeg_decode(&im, "", 0, 0, &err), LAFS_BAD_RECORD);
}

TEST(claims_are_checked_before_decoding)
{
    struct lafs_buf b;
    struct lafs_image im = {0};
    struct lafs_err err = {0};
    load("rgb.jpg", &b);
    size_t sof = find_marker(&b, 0xC0);
    REQUIRE(sof > 0);
    CHECK_INT(lafs_jpeg_decode(&im, b.data, b.size, 48 * 32 - 1, &err), LAFS_BAD_RECORD);
    CHECK(strstr(err.msg, "48 x 32"));
    CHECK_INT(lafs_jpeg_decode(&im, b.data, b.size, 48 * 32, &err), LAFS_OK);
    b.data[sof + 5] = 0x4E, b.data[sof + 6] = 0x20, b.data[sof + 7] = 0x4E,
                 b.data[sof + 8] = 0x20; /* 20,000 x 20,000 */
    CHECK_INT(lafs_jpeg_decode(&im, b.data, b.size, 0, &err), LAFS_BAD_RECORD);
    CHECK_STR(err.msg, "picture of 20000 x 20000 is more than 100000000 pixels");
    CHECK(!im.px);
    lafs_buf_release(&b);
}

TEST(scan_bomb)
{
    struct lafs_buf b, e;
    struct lafs_image im = {0};
    struct lafs_err err = {0};
    load("progressive.jpg", &b);
    /* The last scan again and again. */
    size_t last = 0;
    for (size_t i = 0; i + 1 < b.size; i++)
        if (b.data[i] == 0xFF && b.data[i + 1] == 0xDA) last = i;
    REQUIRE(last > 0);
    lafs_buf_init(&e);
    lafs_buf_put(&e, b.data, last);
    for (int i = 0; i < 500; i++) lafs_buf_put(&e, b.data + last, b.size - 2 - last);
    lafs_buf_put(&e, "\xFF\xD9", 2);
    CHECK_INT(lafs_jpeg_decode(&im, e.data, e.size, 0, &err), LAFS_BAD_RECORD);
    lafs_buf_release(&e);
    lafs_buf_release(&b);
}

TEST(encode_decode)
{
    struct lafs_image im = {0}, back = {0};
    struct lafs_err err = {0};
    struct lafs_buf b, again;
    REQUIRE_OK(lafs_image_new(&im, 37, 23, &err), &err);
    for (int y = 0; y < im.h; y++)
        for (int x = 0; x < im.w; x++) {
            uint8_t *p = im.px + (y * im.w + x) * 3;
            p[0] = (uint8_t)(40 + 5 * x), p[1] = (uint8_t)(250 - 8 * y), p[2] = (uint8_t)(100 + 2 * x + 3 * y);
        }
    size_t size[3];
    static const int quality[3] = {95, 90, 89};
    for (int q = 0; q < 3; q++) {
        lafs_buf_init(&b);
        lafs_buf_init(&again);
        lafs_buf_puts(&b, "before");
        REQUIRE_OK(lafs_jpeg_encode(&b, &im, quality[q], &err), &err);
        REQUIRE_OK(lafs_jpeg_encode(&again, &im, quality[q], &err), &err);
        CHECK(again.size + 6 == b.size && !memcmp(b.data, "before", 6) && !memcmp(b.data + 6, again.data, again.size));
        REQUIRE_OK(lafs_jpeg_decode(&back, again.data, again.size, 0, &err), &err);
        CHECK(back.w == 37 && back.h == 23);
        double sum = 0;
        for (int i = 0; i < 37 * 23 * 3; i++) sum += abs(back.px[i] - im.px[i]);
        CHECK(sum / (37 * 23 * 3) < 2.5);
        size[q] = again.size;
        size_t sof = find_marker(&again, 0xC0);
        CHECK_INT(again.data[sof + 11], quality[q] >= 90 ? 0x11 : 0x22); /* sampling of the first component */
        lafs_buf_release(&b);
        lafs_buf_release(&again);
    }
    CHECK(size[0] > size[1] && size[1] > size[2]);
    CHECK_INT(lafs_jpeg_encode(&b, &im, 0, &err), LAFS_USAGE);
    CHECK_INT(lafs_jpeg_encode(&b, &im, 101, &err), LAFS_USAGE);
    lafs_image_release(&im);
    lafs_image_release(&back);
}

TEST(impossible_images)
{
    struct lafs_image im = {0};
    struct lafs_err err = {0};
    CHECK_INT(lafs_image_new(&im, 0, 5, &err), LAFS_BAD_RECORD);
    CHECK_INT(lafs_image_new(&im, 5, -1, &err), LAFS_BAD_RECORD);
    CHECK_INT(lafs_image_new(&im, 65501, 1, &err), LAFS_BAD_RECORD);
    CHECK(!im.px);
}

TEST_MAIN(colour_spaces, grey, exif_orientation, broken_exif_is_ignored, every_truncation_is_bad,
          corrupt_data_is_bad_and_stray_bytes_are_not, no_jpeg, claims_are_checked_before_decoding, scan_bomb,
          encode_decode, impossible_images)
