#include "tests/test.h"

#include "base/mem.h"
#include "image/align.h"
#include "synth/figure.h"
#include "synth/raster.h"
#include "synth/shape.h"
#include "synth/synth.h"

static struct lafs_err err;

static int open_with(struct lafs_synth **s, struct lafs_synth_work **w, struct lafs_synth_options opt)
{
    return lafs_synth_new(s, &opt, &err) == LAFS_OK && lafs_synth_work_new(w, *s, &err) == LAFS_OK;
}

static void close_both(struct lafs_synth *s, struct lafs_synth_work *w)
{
    lafs_synth_work_free(w);
    lafs_synth_free(s);
}

TEST(photos_depend_on_their_numbers_alone)
{
    struct lafs_synth_options opt = LAFS_SYNTH_DEFAULTS;
    struct lafs_synth *s;
    struct lafs_synth_work *w, *v;
    REQUIRE(open_with(&s, &w, opt));
    REQUIRE_OK(lafs_synth_work_new(&v, s, &err), &err);
    struct lafs_synth_photo a, b;
    lafs_synth_photo_init(&a);
    lafs_synth_photo_init(&b);
    for (int k = 0; k < 6; k++) { /* forwards in one work, backwards in the other */
        for (int l = 0; l < k; l++) REQUIRE_OK(lafs_synth_render(s, v, 5 - l, 3, &b, &err), &err);
        REQUIRE_OK(lafs_synth_render(s, w, k, 2, &a, &err), &err);
        REQUIRE_OK(lafs_synth_render(s, v, k, 2, &b, &err), &err);
        CHECK(memcmp(a.image.px, b.image.px, 3 * 250 * 250) == 0);
        CHECK(memcmp(&a.face[0], &b.face[0], sizeof a.face[0]) == 0);
        REQUIRE_OK(lafs_synth_render(s, v, k, 1, &b, &err), &err);
        CHECK(memcmp(a.image.px, b.image.px, 3 * 250 * 250) != 0);
    }
    lafs_synth_photo_release(&a);
    lafs_synth_photo_release(&b);
    lafs_synth_work_free(v);
    close_both(s, w);
}

TEST(labels_agree)
{
    struct lafs_synth_options opt = LAFS_SYNTH_DEFAULTS;
    opt.faces_max = 4;
    opt.width = 320;
    struct lafs_synth *s;
    struct lafs_synth_work *w;
    REQUIRE(open_with(&s, &w, opt));
    struct lafs_synth_photo p;
    lafs_synth_photo_init(&p);
    int several = 0;
    for (int k = 0; k < 60; k++) {
        REQUIRE_OK(lafs_synth_render(s, w, k, 1, &p, &err), &err);
        CHECK(p.faces >= 1 && p.faces <= 4);
        CHECK_INT(p.face[0].person, k);
        several += p.faces > 1;
        for (int f = 0; f < p.faces; f++) {
            const struct lafs_synth_face *q = &p.face[f];
            float five[10];
            lafs_points68_to_5(q->points68, five);
            for (int i = 0; i < 10; i++) CHECK_NEAR(five[i], q->points[i], 1e-4);
            for (int i = 17; i < 68; i++) /* all but the jaw line */
                CHECK(q->points68[2 * i] >= q->box[0] - 1e-3 && q->points68[2 * i] <= q->box[0] + q->box[2] + 1e-3 &&
                      q->points68[2 * i + 1] >= q->box[1] - 1e-3 &&
                      q->points68[2 * i + 1] <= q->box[1] + q->box[3] + 1e-3);
            CHECK(q->box[2] > 10 && q->box[3] > 10 && q->skin >= 1 && q->skin <= 6);
            CHECK(f == 0 || q->person == -1);
            CHECK(q->points[0] < q->points[2] && q->points[6] < q->points[8] && q->points[1] < q->points[7]);
        }
    }
    CHECK(several > 20);
    lafs_synth_photo_release(&p);
    close_both(s, w);
}

/* Points of brows, nose and eyes after alignment, of photos taken from about in front. */
static int inner_points(const struct lafs_synth *s, struct lafs_synth_work *w, struct lafs_synth_photo *p, int person,
                        int *number, float out[62])
{
    for (; *number < 200; ++*number) {
        if (lafs_synth_render(s, w, person, *number, p, &err) != LAFS_OK) return 0;
        if (fabsf(p->face[0].yaw) > 8 || fabsf(p->face[0].pitch) > 6) continue;
        double m[6];
        float to[10];
        lafs_align_template(112, to);
        if (lafs_similarity(p->face[0].points, to, 5, m, &err) != LAFS_OK) return 0;
        lafs_affine_apply(m, p->face[0].points68 + 34, 31, out);
        ++*number;
        return 1;
    }
    return 0;
}

TEST(a_person_looks_like_himself)
{
    enum { PEOPLE = 12 };
    struct lafs_synth_options opt = LAFS_SYNTH_DEFAULTS;
    opt.width = opt.height = 64; /* the labels do not depend on much of it */
    struct lafs_synth *s;
    struct lafs_synth_work *w;
    REQUIRE(open_with(&s, &w, opt));
    struct lafs_synth_photo p;
    lafs_synth_photo_init(&p);
    static float at[PEOPLE][2][62];
    for (int k = 0; k < PEOPLE; k++) {
        int number = 1;
        for (int n = 0; n < 2; n++) REQUIRE(inner_points(s, w, &p, k, &number, at[k][n]));
    }
    double same = 0, other = 0;
    for (int a = 0; a < PEOPLE; a++)
        for (int b = 0; b < PEOPLE; b++) {
            double d = 0;
            for (int i = 0; i < 62; i++) d += (at[a][0][i] - at[b][1][i]) * (double)(at[a][0][i] - at[b][1][i]);
            if (a == b) same += sqrt(d) / PEOPLE;
            else other += sqrt(d) / PEOPLE / (PEOPLE - 1);
        }
    if (!(same < 0.75 * other)) FAIL_("distance %.3g between photos of one person, %.3g of two", same, other);
    lafs_synth_photo_release(&p);
    close_both(s, w);
}

TEST(people_differ_and_stay)
{
    struct lafs_synth_options opt = LAFS_SYNTH_DEFAULTS;
    struct lafs_synth *s, *t;
    struct lafs_synth_work *w, *v;
    REQUIRE(open_with(&s, &w, opt));
    opt.width = 99, opt.faces_max = 3; /* other photos, the same people */
    REQUIRE(open_with(&t, &v, opt));
    int skins[7] = {0}, men = 0;
    for (int k = 0; k < 600; k++) {
        struct lafs_synth_person a, b, c;
        lafs_synth_describe(s, k, &a);
        lafs_synth_describe(t, k, &b);
        lafs_synth_describe(s, k + 1, &c);
        CHECK(memcmp(&a, &b, sizeof a) == 0);
        CHECK(memcmp(a.shape, c.shape, sizeof a.shape) != 0);
        REQUIRE(a.skin >= 1 && a.skin <= 6 && a.age >= 18 && a.age <= 80);
        skins[a.skin]++;
        men += a.male;
    }
    for (int i = 1; i <= 6; i++) CHECK(skins[i] > 25);
    CHECK(men > 240 && men < 360);
    char name[LAFS_SYNTH_NAME];
    lafs_synth_name(1, 42, name);
    CHECK_STR(name, "s000042");
    lafs_synth_name(7, 1234567, name);
    CHECK_STR(name, "s7-1234567");
    close_both(s, w);
    close_both(t, v);
}

TEST(crops_lie_on_the_template)
{
    struct lafs_synth_options opt = LAFS_SYNTH_DEFAULTS;
    struct lafs_synth *s;
    struct lafs_synth_work *w;
    REQUIRE(open_with(&s, &w, opt));
    struct lafs_synth_photo p;
    struct lafs_image crop = {0};
    lafs_synth_photo_init(&p);
    double mean[10] = {0};
    float want[10];
    lafs_align_template(112, want);
    for (int k = 0; k < 50; k++) {
        double m[6];
        float points[10], points68[136], box[4], five[10];
        REQUIRE_OK(lafs_synth_render(s, w, k, 1, &p, &err), &err);
        REQUIRE_OK(lafs_synth_align(&p, 112, &crop, m, points, points68, box, &err), &err);
        CHECK(crop.w == 112 && crop.h == 112);
        lafs_points68_to_5(points68, five);
        for (int i = 0; i < 10; i++) {
            CHECK_NEAR(five[i], points[i], 1e-3);
            mean[i] += points[i] / 50;
        }
        /* The box holds the turned one, and touches it on every side. */
        const float *b = p.face[0].box, right = box[0] + box[2], low = box[1] + box[3];
        float corner[8] = {b[0], b[1], b[0] + b[2], b[1], b[0], b[1] + b[3], b[0] + b[2], b[1] + b[3]}, q[8];
        int touched = 0;
        lafs_affine_apply(m, corner, 4, q);
        for (int i = 0; i < 4; i++) {
            float x = q[2 * i], y = q[2 * i + 1], e = 1e-3f;
            CHECK(x > box[0] - e && x < right + e && y > box[1] - e && y < low + e);
            touched |= (x < box[0] + e) | (x > right - e) << 1 | (y < box[1] + e) << 2 | (y > low - e) << 3;
        }
        CHECK_INT(touched, 15);
    }
    for (int i = 0; i < 10; i++) CHECK_NEAR(mean[i], want[i], 2.5);
    lafs_image_release(&crop);
    lafs_synth_photo_release(&p);
    close_both(s, w);
}

TEST(options_are_checked)
{
    struct lafs_synth *s;
    const struct lafs_synth_options bad[] = {
        {1, 31, 250, 1, 1}, {1, 250, 5000, 1, 1}, {1, 250, 250, 0, 1}, {1, 250, 250, 3, 2}, {1, 250, 250, 1, 9}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK_INT(lafs_synth_new(&s, &bad[i], &err), LAFS_USAGE);
    struct lafs_synth_options small = {1, LAFS_SYNTH_MIN_SIZE, LAFS_SYNTH_MIN_SIZE, LAFS_SYNTH_MAX_FACES,
                                       LAFS_SYNTH_MAX_FACES};
    struct lafs_synth_work *w;
    struct lafs_synth_photo p;
    lafs_synth_photo_init(&p);
    REQUIRE(open_with(&s, &w, small)); /* as tight as it can be: the sanitizers look on */
    for (int k = 0; k < 5; k++) REQUIRE_OK(lafs_synth_render(s, w, k, 1, &p, &err), &err);
    CHECK_INT(p.faces, LAFS_SYNTH_MAX_FACES);
    CHECK_INT(lafs_synth_render(s, w, -1, 1, &p, &err), LAFS_USAGE);
    lafs_synth_photo_release(&p);
    close_both(s, w);
}

TEST(the_head_is_whole)
{
    struct head h;
    REQUIRE_OK(lafs_synth_head_init(&h, &err), &err);
    const float *x = h.pos, *y = x + HEAD_V, *z = y + HEAD_V;
    int outward = 0;
    for (int i = 0; i < HEAD_ROWS; i++)
        for (int j = 0; j < HEAD_COLS; j++) {
            int k = i * HEAD_COLS + j, mirror = i * HEAD_COLS + HEAD_COLS - 1 - j;
            REQUIRE(isfinite(x[k]) && isfinite(y[k]) && isfinite(z[k]) && h.ao[k] >= 0 && h.ao[k] <= 1);
            CHECK_NEAR(x[k], -x[mirror], 1e-3);
            CHECK_NEAR(y[k], y[mirror], 1e-3);
            CHECK_NEAR(z[k], z[mirror], 1e-3);
            outward += x[k] * h.normal[k] + (z[k] + 20) * h.normal[2 * HEAD_V + k] > 0;
        }
    CHECK(outward > HEAD_V * 95 / 100);
    /* The open mouth parts the lips: what is above the line stays, what is below goes down. */
    float expr[EXPR_COUNT] = {0}, above[3], below[3], chin[3], *pos;
    static const float none[LAFS_SYNTH_SHAPES];
    expr[EXPR_OPEN] = 1;
    REQUIRE_OK(lafs_alloc(&pos, 3 * HEAD_V, sizeof *pos, &err), &err);
    lafs_synth_head_pose(&h, none, expr, pos);
    lafs_synth_head_point(&h, pos, 0, 69, above);
    lafs_synth_head_point(&h, pos, 0, 71.2f, below);
    lafs_synth_head_point(&h, pos, 0, HEAD_T_JAW, chin);
    CHECK(below[1] - above[1] > 15 && above[1] > 65 && above[1] < 73 && chin[1] > 125);
    lafs_free(pos);
    lafs_synth_head_release(&h);
}

TEST(triangles_leave_no_gaps)
{
    enum { N = 7, W = 39 };
    float p[3 * N * N];
    int32_t tri[6 * (N - 1) * (N - 1)];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) { /* a skewed patch that covers the picture */
            p[i * N + j] = -9 + 10.3f * (float)j + 0.7f * (float)(i * j % 5);
            p[N * N + i * N + j] = -8 + 9.7f * (float)i + 0.9f * (float)((i + 2 * j) % 4);
            p[2 * N * N + i * N + j] = 1 + 0.01f * (float)i;
        }
    lafs_synth_grid_triangles(N, N, tri);
    struct raster r;
    REQUIRE_OK(lafs_synth_raster_init(&r, W, W, &err), &err);
    lafs_synth_raster_draw(&r, p, N * N, tri, 2 * (N - 1) * (N - 1), 100, -1, NULL);
    for (int k = 0; k < W * W; k++) {
        int id = r.id[k / W * r.stride + k % W];
        REQUIRE(id >= 100 && id < 100 + 2 * (N - 1) * (N - 1));
        const int32_t *t = tri + 3 * (id - 100);
        float b1, b2;
        raster_weights(r.weight[k / W * r.stride + k % W], &b1, &b2);
        float b0 = 1 - b1 - b2;
        CHECK(b0 > -0.01f && b1 > -0.01f && b2 > -0.01f);
        CHECK_NEAR(b0 * p[t[0]] + b1 * p[t[1]] + b2 * p[t[2]], k % W, 1e-2);
        CHECK_NEAR(b0 * p[N * N + t[0]] + b1 * p[N * N + t[1]] + b2 * p[N * N + t[2]], k / W, 1e-2);
    }
    lafs_synth_raster_clear(&r);
    lafs_synth_raster_draw(&r, p, N * N, tri, 2 * (N - 1) * (N - 1), 0, 1, NULL); /* the back is not drawn */
    for (int k = 0; k < W * W; k++) CHECK(r.id[k / W * r.stride + k % W] == -1);
    lafs_synth_raster_release(&r);
}

TEST_MAIN(photos_depend_on_their_numbers_alone, labels_agree, a_person_looks_like_himself, people_differ_and_stay,
          crops_lie_on_the_template, options_are_checked, the_head_is_whole, triangles_leave_no_gaps)
