#include "data/face.h"

#include "tests/test.h"

static const uint8_t px[] = {1, 2, 3, 4, 5, 6}, swapped[] = {3, 2, 1, 6, 5, 4};

static void check(const char *field, const void *value, const uint8_t *want)
{
    struct lafs_sample s;
    struct lafs_image im = {0};
    struct lafs_err err = {0};
    lafs_sample_init(&s);
    lafs_sample_set_u8(&s, "rgb", (int64_t[]){1, 2, 3}, 3, px);
    if (field) lafs_sample_set_raw(&s, field, value, 1);
    REQUIRE_OK(lafs_face_image(&s, 0, &im, &err), &err);
    CHECK(im.w == 2 && im.h == 1 && memcmp(im.px, want, sizeof px) == 0);
    CHECK_INT(lafs_face_swapped(&s), want == swapped);
    lafs_image_release(&im);
    lafs_sample_release(&s);
}

TEST(red_and_blue)
{
    check(NULL, NULL, px);
    check("swapped", "\xc3", swapped); /* true */
    check("swapped", "\xc2", px);
    check("swapped", "\x01", px);
}

/* What is emptied and filled again has the bytes that it had, fields in their order. */
TEST(hollow_and_filled)
{
    struct lafs_sample s, t;
    struct lafs_buf a, b;
    struct lafs_err err = {0};
    static const char big[100000];
    const char *const field[] = {"jpg", "png", "rgb"};
    lafs_sample_init(&s), lafs_sample_init(&t);
    lafs_buf_init(&a), lafs_buf_init(&b);
    for (int i = 0; i < 3; i++) {
        lafs_sample_clear(&s), lafs_buf_clear(&a), lafs_buf_clear(&b);
        lafs_sample_set_bin(&s, field[i], big, sizeof big);
        lafs_sample_set_str(&s, "key", "k");
        REQUIRE_OK(lafs_sample_copy(&t, &s, &err), &err);
        lafs_face_hollow(&t);
        lafs_sample_encode(&t, &b);
        CHECK(lafs_face_has(&t) && b.size < 100 && t.buf.cap < sizeof big);
        lafs_buf_clear(&b);
        lafs_face_fill(&t, &s);
        REQUIRE_OK(lafs_sample_check(&t, &err), &err);
        lafs_sample_encode(&s, &a), lafs_sample_encode(&t, &b);
        CHECK(a.size == b.size && !memcmp(a.data, b.data, a.size));
    }
    lafs_sample_release(&s), lafs_sample_release(&t);
    lafs_buf_release(&a), lafs_buf_release(&b);
}

TEST(jpeg_too)
{
    struct lafs_sample s;
    struct lafs_image im = {0}, back = {0};
    struct lafs_buf jpg;
    struct lafs_err err = {0};
    lafs_sample_init(&s);
    lafs_buf_init(&jpg);
    REQUIRE_OK(lafs_image_new(&im, 8, 8, &err), &err);
    for (int i = 0; i < 64; i++) memcpy(im.px + 3 * i, (uint8_t[]){200, 100, 40}, 3);
    REQUIRE_OK(lafs_jpeg_encode(&jpg, &im, 95, &err), &err);
    lafs_sample_set_bin(&s, "jpg", jpg.data, jpg.size);
    lafs_sample_set_raw(&s, "swapped", "\xc3", 1);
    REQUIRE_OK(lafs_face_image(&s, 0, &back, &err), &err);
    CHECK_NEAR(back.px[0], 40, 3);
    CHECK_NEAR(back.px[1], 100, 3);
    CHECK_NEAR(back.px[2], 200, 3);
    lafs_sample_del(&s, "jpg");
    CHECK_INT(lafs_face_image(&s, 0, &back, &err), LAFS_BAD_RECORD);
    lafs_image_release(&im);
    lafs_image_release(&back);
    lafs_buf_release(&jpg);
    lafs_sample_release(&s);
}

TEST_MAIN(red_and_blue, hollow_and_filled, jpeg_too)
