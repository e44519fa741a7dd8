#include "tests/test.h"

#include "base/rng.h"
#include "image/draw.h"

static struct lafs_err err;
static const struct lafs_colour red = {255, 0, 0}, white = {255, 255, 255};

static struct lafs_image blank(int w, int h)
{
    struct lafs_image im = {0};
    if (lafs_image_new(&im, w, h, &err) != LAFS_OK) abort();
    memset(im.px, 0, (size_t)(w * h * 3));
    return im;
}

static int lit(const struct lafs_image *im)
{
    int n = 0;
    for (int i = 0; i < im->w * im->h; i++) n += im->px[3 * i] > 127;
    return n;
}

TEST(boxes)
{
    struct lafs_image im = blank(20, 10);
    lafs_draw_box(&im, 2, 3, 7, 6, 1, red);
    CHECK_INT(lit(&im), 2 * 6 + 2 * 2);
    CHECK(im.px[(3 * 20 + 2) * 3] == 255 && im.px[(6 * 20 + 7) * 3] == 255 && im.px[(4 * 20 + 4) * 3] == 0);
    lafs_draw_box(&im, 9, 1, 18, 8, 2, red);
    CHECK_INT(lit(&im), 2 * 6 + 2 * 2 + 10 * 8 - 6 * 4);
    CHECK(im.px[(2 * 20 + 10) * 3] == 255 && im.px[(3 * 20 + 11) * 3] == 0 && im.px[(6 * 20 + 16) * 3] == 0);
    lafs_image_release(&im);
}

TEST(nothing_outside_is_touched)
{
    struct lafs_image im = blank(8, 8);
    lafs_draw_box(&im, -1e30, -5, 1e30, NAN, 3, red);
    lafs_draw_box(&im, -100, -100, 200, 200, 2, red);
    lafs_draw_dot(&im, INFINITY, 1e20, 3, red);
    lafs_draw_dot(&im, -2, -2, 1, red);
    lafs_draw_text(&im, -3, -3, 1000, "clipped", white);
    lafs_draw_text(&im, 100, 100, 1000, "clipped", white);
    struct lafs_image other = blank(5, 5);
    memset(other.px, 255, 75);
    lafs_image_release(&im);
    im = blank(8, 8);
    lafs_draw_image(&im, -3, -3, &other);
    CHECK_INT(lit(&im), 4);
    lafs_draw_image(&im, 6, 7, &other);
    CHECK_INT(lit(&im), 6);
    lafs_draw_image(&im, 50, 50, &other);
    lafs_draw_image(&im, -50, 2, &other);
    CHECK_INT(lit(&im), 6);
    lafs_image_release(&other);
    other = blank(4, 3);
    for (int i = 0; i < 36; i++) other.px[i] = (uint8_t)(100 + i);
    lafs_image_release(&im);
    im = blank(6, 9);
    lafs_draw_image(&im, 3, 1, &other); /* its last column is cut off */
    for (int y = 0; y < 9; y++)
        for (int x = 0; x < 6; x++)
            CHECK_INT(im.px[3 * (6 * y + x) + 1], x >= 3 && y >= 1 && y < 4 ? 101 + 3 * (4 * (y - 1) + x - 3) : 0);
    lafs_image_release(&other);
    lafs_image_release(&im);
}

TEST(text)
{
    struct lafs_image a = blank(40, 9), b = blank(40, 9);
    lafs_draw_text(&a, 1, 1, 40, "\xc3\xa9l\xc3\xa8ve", white);
    lafs_draw_text(&b, 1, 1, 40, "eleve", white);
    CHECK(memcmp(a.px, b.px, 40 * 9 * 3) == 0);
    CHECK(lit(&a) > 30);
    lafs_draw_text(&a, 1, 1, 40, "\xff\xe4\xb8", white); /* no UTF-8: drawn as '?', read to its end only */
    lafs_image_release(&a);
    a = blank(40, 9);
    lafs_draw_text(&a, 0, 0, 11, "II", white);
    lafs_image_release(&b);
    b = blank(40, 9);
    lafs_draw_text(&b, 0, 0, 10, "II", white); /* the second does not fit */
    CHECK_INT(lit(&a), 2 * lit(&b));
    lafs_draw_text(&b, 0, 0, 40, "\xf0\x9f\x98\x80I\xe2\x82\xac", white); /* a letter each, whatever its bytes */
    lafs_image_release(&a);
    a = blank(40, 9);
    lafs_draw_text(&a, 0, 0, 40, "I", white); /* below what is drawn next */
    lafs_draw_text(&a, 0, 0, 40, "?I?", white);
    CHECK(memcmp(a.px, b.px, 40 * 9 * 3) == 0);
    lafs_image_release(&a);
    lafs_image_release(&b);
}

/* Every letter as it was drawn when somebody looked at it. */
TEST(letters)
{
    struct lafs_image im = blank(6 * 95, 9);
    char all[96] = "";
    for (int i = 0; i < 95; i++) all[i] = (char)(' ' + i);
    lafs_draw_text(&im, 0, 0, im.w, all, white);
    uint64_t seen = lafs_fnv1a(im.px, (size_t)(im.w * im.h * 3));
    if (seen != 0x8039a1143705d9b7u) FAIL_("their pixels' hash is %#llx", (unsigned long long)seen);
    lafs_image_release(&im);
}

TEST(scaling)
{
    struct lafs_image im = blank(6, 4), out = {0};
    memset(im.px, 77, 6 * 4 * 3);
    static const int size[][2] = {{6, 4}, {13, 9}, {2, 2}, {1, 1}, {1, 30}};
    for (int k = 0; k < 5; k++) {
        REQUIRE_OK(lafs_image_scale(&im, size[k][0], size[k][1], &out, &err), &err);
        for (int i = 0; i < out.w * out.h * 3; i++) CHECK_INT(out.px[i], 77); /* to the very edge */
        lafs_image_release(&out);
    }
    for (int i = 0; i < 24; i++) im.px[3 * i] = (uint8_t)(i % 6 < 3 ? 0 : 200);
    REQUIRE_OK(lafs_image_scale(&im, 6, 4, &out, &err), &err);
    CHECK(memcmp(out.px, im.px, 72) == 0); /* the same size: the same picture */
    lafs_image_release(&out);
    REQUIRE_OK(lafs_image_scale(&im, 1, 1, &out, &err), &err);
    CHECK_NEAR(out.px[0], 100, 1);
    lafs_image_release(&out);
    lafs_image_release(&im);
}

TEST_MAIN(boxes, nothing_outside_is_touched, text, letters, scaling)
