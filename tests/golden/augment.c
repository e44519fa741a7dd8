/* Every view operation against PIL and torchvision, on both host backends. */
#include "tests/golden/golden.h"

#include "base/json.h"

enum { SIDE = 112 };

/* The made pictures of the README: a 9 x 9 grid of colours, bilinear, plus noise. */
static uint8_t *picture(const char *name, int h, int w)
{
    char part[64];
    snprintf(part, sizeof part, "%s.grid", name);
    float *grid = golden_new(part, 9 * 9 * 3, 0, 255);
    snprintf(part, sizeof part, "%s.noise", name);
    float *noise = golden_new(part, (int64_t)h * w * 3, -6, 6);
    uint8_t *px = golden_alloc((size_t)h * (size_t)w, 3);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < 3; c++) {
                double gy = 8.0 * y / h, gx = 8.0 * x / w;
                int iy = (int)gy, ix = (int)gx;
                const float *g = grid + (iy * 9 + ix) * 3 + c;
                double fy = gy - iy, fx = gx - ix;
                double v = (g[0] * (1 - fx) + g[3] * fx) * (1 - fy) + (g[27] * (1 - fx) + g[30] * fx) * fy;
                v = floor(v + noise[(y * w + x) * 3 + c] + 0.5);
                px[(y * w + x) * 3 + c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
    free(grid);
    free(noise);
    return px;
}

static float number(const struct lafs_json *o, const char *key)
{
    const struct lafs_json *v = lafs_json_get(o, key);
    return v && v->type == LAFS_JSON_NUMBER ? (float)v->num : 0;
}

/* The plan of a stored result, from its name and parameters; 0: no such operation here. */
static int plan_of(const struct lafs_json *p, struct lafs_viewplan *plan)
{
    static const struct { const char *name; int kind; const char *arg; } op[] = {
        {"brightness", LAFS_OP_BRIGHTNESS, "factor"}, {"contrast", LAFS_OP_CONTRAST, "factor"},
        {"saturation", LAFS_OP_SATURATION, "factor"}, {"hue", LAFS_OP_HUE, "factor"}, {"gray", LAFS_OP_GRAY, ""},
        {"blur_", LAFS_OP_BLUR, "radius"}, {"solarize", LAFS_OP_SOLARIZE, ""}, {"ra_rotate", LAFS_OP_ROTATE, "degrees"},
        {"ra_shear_x", LAFS_OP_SHEAR_X, "factor"}, {"ra_shear_y", LAFS_OP_SHEAR_Y, "factor"},
        {"ra_translate_x", LAFS_OP_TRANSLATE_X, "pixels"}, {"ra_translate_y", LAFS_OP_TRANSLATE_Y, "pixels"},
        {"ra_autocontrast", LAFS_OP_AUTOCONTRAST, ""}, {"ra_equalize", LAFS_OP_EQUALIZE, ""},
        {"ra_posterize", LAFS_OP_POSTERIZE, "bits"}, {"ra_color", LAFS_OP_SATURATION, "factor"},
        {"ra_contrast", LAFS_OP_CONTRAST, "factor"}, {"ra_brightness", LAFS_OP_BRIGHTNESS, "factor"},
        {"ra_sharpness", LAFS_OP_SHARPNESS, "factor"}};
    *plan = (struct lafs_viewplan){.kind = LAFS_VIEW_TRAIN, .out_size = SIDE, .ops = 1, .clean_ops = 1};
    if (!strncmp(p->key, "crop_", 5)) {
        plan->op[0] = (struct lafs_view_op){
            LAFS_OP_CROP_BICUBIC, {number(p, "top"), number(p, "left"), number(p, "height"), number(p, "width")}};
        return 1;
    }
    if (!strcmp(p->key, "chain")) {
        static const struct lafs_view_op chain[8] = {{LAFS_OP_CROP_BICUBIC, {5, 9, 97, 88}},
                                                     {LAFS_OP_FLIP, {0}},
                                                     {LAFS_OP_BRIGHTNESS, {0.8f}},
                                                     {LAFS_OP_CONTRAST, {1.35f}},
                                                     {LAFS_OP_SATURATION, {0.9f}},
                                                     {LAFS_OP_HUE, {0.05f}},
                                                     {LAFS_OP_BLUR, {1.3f}},
                                                     {LAFS_OP_SOLARIZE, {0}}};
        memcpy(plan->op, chain, sizeof chain);
        plan->ops = 8;
        plan->clean_ops = 2;
        return 1;
    }
    for (size_t i = 0; i < sizeof op / sizeof *op; i++)
        if (!strncmp(p->key, op[i].name, strlen(op[i].name))) {
            plan->op[0] = (struct lafs_view_op){op[i].kind, {number(p, op[i].arg)}};
            return 1;
        }
    return 0;
}

static void check_result(const struct lafs_ops *ops, struct lafs_dev *d, const struct lafs_st *g,
                         const struct lafs_json *p, const uint8_t *face, const uint8_t *big)
{
    static uint8_t got[SIDE * SIDE * 3];
    struct lafs_viewplan plan;
    struct lafs_err err = {0};
    const struct lafs_json *input = lafs_json_get(p, "input");
    const struct lafs_st_tensor *want = lafs_st_find(g, p->key);
    if (!input || !want || want->count != SIDE * SIDE * 3 || !plan_of(p, &plan)) {
        FAIL_("'%s' is no result that we know", p->key);
        return;
    }
    int is_big = !strcmp(input->str, "big"), side = is_big ? 250 : SIDE;
    const uint8_t *source = is_big ? big : face;
    uint8_t *out = got;
    memset(got, 77, sizeof got);
    ops->render(d, 1, &plan, &source, &side, &side, NULL, &out);
    REQUIRE_OK(ops->sync(d, &err), &err);
    int one = 0, more = 0, worst = 0;
    for (int i = 0; i < SIDE * SIDE * 3; i++) {
        int diff = abs(got[i] - ((const uint8_t *)want->data)[i]);
        one += diff > 1;
        more += diff > 2;
        worst = diff > worst ? diff : worst;
    }
    if (one > SIDE * SIDE * 3 / 1000 || more)
        FAIL_("%s: %s: %d values differ by more than 1, %d by more than 2, worst %d", ops->name, p->key, one, more,
              worst);
}

static void check_backend(const struct lafs_ops *ops)
{
    struct lafs_st *g = golden_open("augment");
    struct lafs_json *params = NULL;
    struct lafs_dev *d = NULL;
    struct lafs_err err = {0};
    REQUIRE(g);
    const char *text = lafs_st_meta(g, "params");
    REQUIRE(text);
    REQUIRE_OK(lafs_json_parse(&params, text, strlen(text), &err), &err);
    REQUIRE_OK(ops->open(&d, "", NULL, &err), &err);
    uint8_t *face = picture("augment.face", SIDE, SIDE), *big = picture("augment.big", 250, 250);
    CHECK(!memcmp(face, lafs_st_find(g, "input_face_first_rows")->data, 2 * SIDE * 3));
    CHECK(!memcmp(big, lafs_st_find(g, "input_big_first_rows")->data, 2 * 250 * 3));
    int results = 0;
    for (const struct lafs_json *p = params->child; p; p = p->next, results++) check_result(ops, d, g, p, face, big);
    CHECK_INT(results, 25);
    free(face);
    free(big);
    ops->close(d);
    lafs_json_free(params);
    lafs_st_close(g);
}

TEST(reference) { check_backend(&lafs_ref_ops); }
TEST(cpu) { check_backend(lafs_cpu_ops()); }

TEST_MAIN(reference, cpu)
