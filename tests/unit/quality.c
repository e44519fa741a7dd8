/* Quality of faces: sharpness falls with blur, and not with contrast or noise; angles are those of rendered heads;
 * parts are what they are said to be. */
#include "image/quality.h"

#include "base/rng.h"
#include "image/align.h"
#include "image/resize.h"
#include "synth/synth.h"
#include "tests/test.h"

enum { SIDE = LAFS_QUALITY_SIDE, PEOPLE = 30 };

static struct lafs_synth *synth;
static struct lafs_synth_work *work;
static struct lafs_synth_photo shot;
static struct lafs_err e;

/* The person's photo: shot, its crop, and the matrix from photo to crop. */
static void render(int person, struct lafs_image *crop, double m[6])
{
    const struct lafs_synth_options opt = LAFS_SYNTH_DEFAULTS;
    float template[10];
    if (!synth) {
        REQUIRE_OK(lafs_synth_new(&synth, &opt, &e), &e);
        REQUIRE_OK(lafs_synth_work_new(&work, synth, &e), &e);
        lafs_synth_photo_init(&shot);
    }
    REQUIRE_OK(lafs_synth_render(synth, work, person, 1, &shot, &e), &e);
    lafs_align_template(SIDE, template);
    REQUIRE_OK(lafs_similarity(shot.face[0].points, template, 5, m, &e), &e);
    REQUIRE_OK(lafs_image_new(crop, SIDE, SIDE, &e), &e);
    REQUIRE_OK(lafs_warp_affine(&shot.image, m, crop, &e), &e);
}

TEST(angles)
{
    struct lafs_image crop = {0};
    double m[6], yaw, pitch, roll, sum[3] = {0}, along = 0, own = 0;
    for (int i = 0; i < PEOPLE; i++) {
        render(i, &crop, m);
        const struct lafs_synth_face *f = &shot.face[0];
        lafs_points5_pose(f->points, &yaw, &pitch, &roll);
        along += yaw * f->yaw, own += (double)f->yaw * f->yaw;
        sum[0] += (yaw - f->yaw) * (yaw - f->yaw);
        sum[1] += (pitch - f->pitch) * (pitch - f->pitch);
        sum[2] += (roll - f->roll) * (roll - f->roll);
    }
    for (int k = 0; k < 3; k++) CHECK(sqrt(sum[k] / PEOPLE) < 8);
    CHECK_NEAR(along / own, 1, 0.1); /* neither too small on the whole nor too large */
    /* the mirror image: yaw and roll turn about */
    float other[10];
    double back[3];
    memcpy(other, shot.face[0].points, sizeof other);
    lafs_points5_mirror(other, 249);
    lafs_points5_pose(other, &back[0], &back[1], &back[2]);
    CHECK_NEAR(back[0], -yaw, 1e-3);
    CHECK_NEAR(back[1], pitch, 1e-3);
    CHECK_NEAR(back[2], -roll, 1e-3);
    const float line[10] = {1, 1, 2, 2, 3, 3, 4, 4, 5, 5};
    lafs_points5_pose(line, &yaw, &pitch, &roll);
    CHECK(isnan(yaw) && isnan(pitch));
    lafs_image_release(&crop);
}

/* Smaller and larger again: what a lens out of focus takes. */
static void blur(struct lafs_image *im, int side)
{
    struct lafs_image small = {0}, back = {0};
    REQUIRE_OK(lafs_image_resize(im, side, side, &small, &e), &e);
    REQUIRE_OK(lafs_image_resize(&small, SIDE, SIDE, &back, &e), &e);
    memcpy(im->px, back.px, SIDE * SIDE * 3);
    lafs_image_release(&small);
    lafs_image_release(&back);
}

static void blur_photo(struct lafs_image *im)
{
    struct lafs_image small = {0}, back = {0};
    REQUIRE_OK(lafs_image_resize(im, im->w / 3, im->h / 3, &small, &e), &e);
    REQUIRE_OK(lafs_image_resize(&small, im->w, im->h, &back, &e), &e);
    memcpy(im->px, back.px, (size_t)(im->w * im->h * 3));
    lafs_image_release(&small);
    lafs_image_release(&back);
}

/* Of a crop from the middle of a larger photo. */
static lafs_status sharpness_of(const struct lafs_image *crop, float *out)
{
    static const double m[6] = {1, 0, -SIDE, 0, 1, -SIDE};
    static const float points[10] = {150, 163, 185, 163, 168, 184, 153, 204, 182, 204};
    const struct lafs_image photo = {.w = 3 * SIDE, .h = 3 * SIDE};
    struct lafs_quality q = {0};
    lafs_status st = lafs_quality_of(crop, &photo, m, points, -1, -1, &q, &e);
    *out = q.sharpness;
    return st;
}

static void add_noise(struct lafs_image *im, struct lafs_rng *r, double sigma)
{
    for (int k = 0; k < SIDE * SIDE * 3; k++) {
        int v = im->px[k] + (int)(sigma * lafs_rng_normal(r));
        im->px[k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

TEST(sharpness)
{
    struct lafs_image crop = {0};
    double m[6];
    struct lafs_rng r;
    float was, now, sum[4] = {0};
    lafs_rng_init(&r, 1);
    for (int i = 0; i < PEOPLE; i++) {
        render(i, &crop, m);
        REQUIRE_OK(sharpness_of(&crop, &was), &e);
        CHECK(was > 0.4f && was <= 1);
        for (int k = 0; k < SIDE * SIDE * 3; k++) crop.px[k] = (uint8_t)(80 + crop.px[k] / 3);
        REQUIRE_OK(sharpness_of(&crop, &now), &e);
        CHECK_NEAR(now, was, 0.08);
        render(i, &crop, m);
        add_noise(&crop, &r, 5);
        REQUIRE_OK(sharpness_of(&crop, &now), &e);
        sum[0] += now - was;
        render(i, &crop, m);
        blur(&crop, 48);
        REQUIRE_OK(sharpness_of(&crop, &now), &e);
        CHECK(now < was);
        sum[1] += now;
        was = now;
        blur(&crop, 24);
        REQUIRE_OK(sharpness_of(&crop, &now), &e);
        CHECK(now < 0.8f * was);
        sum[2] += now;
        add_noise(&crop, &r, 8);
        was = now;
        REQUIRE_OK(sharpness_of(&crop, &now), &e);
        sum[3] += now - was; /* noise is no detail */
    }
    CHECK(fabsf(sum[0]) < 0.15f * PEOPLE);
    CHECK(sum[1] < 0.6f * PEOPLE);
    CHECK(sum[2] < 0.4f * PEOPLE);
    CHECK(fabsf(sum[3]) < 0.08f * PEOPLE);
    memset(crop.px, 90, SIDE * SIDE * 3);
    REQUIRE_OK(sharpness_of(&crop, &now), &e);
    CHECK(now == 0);
    lafs_image_release(&crop);
    REQUIRE_OK(lafs_image_new(&crop, SIDE, SIDE + 1, &e), &e);
    CHECK_INT(sharpness_of(&crop, &now), LAFS_USAGE);
    lafs_image_release(&crop);
}

TEST(parts)
{
    struct lafs_image crop = {0};
    struct lafs_quality q, p;
    double m[6], larger[6], turned[6] = {0};
    float points[10];
    render(3, &crop, m);
    memcpy(points, shot.face[0].points, sizeof points);
    REQUIRE_OK(lafs_quality_of(&crop, &shot.image, m, points, -1, -1, &q, &e), &e);
    CHECK(q.sure == 1 && q.size > 0 && q.size <= 1);
    CHECK_NEAR(q.pose, 0.968, 0.002);
    CHECK_NEAR(q.value, q.size * q.sharpness * q.pose * q.sure, 6e-5);
    for (int k = 0; k < 6; k++) larger[k] = 4 * m[k];
    REQUIRE_OK(lafs_quality_of(&crop, &shot.image, larger, points, 0.9, 0.3, &p, &e), &e);
    CHECK_NEAR(p.size, 1 / (4 * sqrt(m[0] * m[4] - m[1] * m[3])), 1e-5);
    CHECK_NEAR(p.sure, 0.45, 1e-5);
    CHECK_NEAR(p.pose, q.pose, 1e-6);
    REQUIRE_OK(lafs_quality_of(&crop, &shot.image, m, points, 0.9, 0.9, &p, &e), &e);
    CHECK_NEAR(p.sure, 0.9, 1e-5);
    turned[0] = -1, turned[4] = -1; /* upside down */
    lafs_affine_apply(turned, points, 5, points);
    REQUIRE_OK(lafs_quality_of(&crop, &shot.image, m, points, -1, -1, &p, &e), &e);
    CHECK(p.pose < 0.05f && p.value < 0.05);
    lafs_image_release(&crop);
}

/* The photo from (left, top) on, w x h of it, and the same crop of that. */
static void cut_out(int left, int top, int w, int h, const double m[6], struct lafs_image *cut, struct lafs_image *crop,
                    double of_cut[6])
{
    REQUIRE_OK(lafs_image_new(cut, w, h, &e), &e);
    for (int y = 0; y < h; y++)
        memcpy(cut->px + y * w * 3, shot.image.px + ((top + y) * shot.image.w + left) * 3, (size_t)w * 3);
    memcpy(of_cut, m, 6 * sizeof *m);
    of_cut[2] += m[0] * left + m[1] * top;
    of_cut[5] += m[3] * left + m[4] * top;
    REQUIRE_OK(lafs_image_new(crop, SIDE, SIDE, &e), &e);
    REQUIRE_OK(lafs_warp_affine(cut, of_cut, crop, &e), &e);
}

/* A blurred face at the photo's edge, whichever: the edge is no detail, and half a face is worth half. */
TEST(outside)
{
    struct lafs_image crop = {0}, cut = {0}, cut_crop = {0};
    struct lafs_quality whole, half, unseen;
    double m[6], of_cut[6];
    render(3, &crop, m);
    blur_photo(&shot.image);
    REQUIRE_OK(lafs_warp_affine(&shot.image, m, &crop, &e), &e);
    REQUIRE_OK(lafs_quality_of(&crop, &shot.image, m, shot.face[0].points, -1, -1, &whole, &e), &e);
    /* up to the nose, or from there on */
    const int w = shot.image.w, h = shot.image.h, x = (int)shot.face[0].points[4], y = (int)shot.face[0].points[5];
    static const double as_ever[4] = {0.809, 0.487, 0.734, 1};
    const int part[4][4] = {{0, 0, x, h}, {x, 0, w - x, h}, {0, 0, w, y}, {0, y, w, h - y}};
    for (int k = 0; k < 4; k++) {
        cut_out(part[k][0], part[k][1], part[k][2], part[k][3], m, &cut, &cut_crop, of_cut);
        REQUIRE_OK(lafs_quality_of(&cut_crop, &cut, of_cut, shot.face[0].points, -1, -1, &half, &e), &e);
        /* as if the rest of the face were there, and not looked at */
        REQUIRE_OK(lafs_quality_of(&crop, &cut, of_cut, shot.face[0].points, -1, -1, &unseen, &e), &e);
        CHECK_NEAR(half.sharpness, unseen.sharpness, 1e-6);
        CHECK_NEAR(half.sharpness, as_ever[k], 0.01);
        if (k == 0) CHECK_NEAR(half.sharpness, whole.sharpness, 0.15);
        CHECK(half.size < 0.7f * whole.size && half.size > 0.3f * whole.size);
        CHECK(half.value < 0.8 * whole.value);
        lafs_image_release(&cut);
        lafs_image_release(&cut_crop);
    }
    lafs_image_release(&crop);
}

TEST(cleaned_up)
{
    lafs_synth_photo_release(&shot);
    lafs_synth_work_free(work);
    lafs_synth_free(synth);
}

TEST_MAIN(angles, sharpness, parts, outside, cleaned_up)
