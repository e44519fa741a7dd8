#include "tests/test.h"

#include "base/mem.h"
#include "base/rng.h"
#include "eval/plot.h"

static struct lafs_err err;

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what)) n++;
    return n;
}

/* Every tag is closed, in order; attributes are quoted; no NaN has leaked. */
static int well_formed(const char *s)
{
    char open[64][16];
    int depth = 0;
    for (const char *p = s; *p; p++) {
        if (*p == '&' && strncmp(p, "&lt;", 4) && strncmp(p, "&gt;", 4) && strncmp(p, "&amp;", 5) &&
            strncmp(p, "&quot;", 6))
            return 0;
        if (*p != '<') continue;
        const char *end = strchr(p, '>');
        if (!end) return 0;
        int quotes = 0;
        for (const char *q = p; q < end; q++) quotes += *q == '"';
        if (quotes % 2) return 0;
        char name[16];
        int close = p[1] == '/';
        if (sscanf(p + 1 + close, "%15[a-zA-Z]", name) != 1) return 0;
        if (close) {
            if (depth == 0 || strcmp(open[--depth], name)) return 0;
        } else if (end[-1] != '/') {
            if (depth == 64) return 0;
            snprintf(open[depth++], 16, "%s", name);
        }
        p = end;
    }
    return depth == 0 && !strstr(s, "nan") && !strstr(s, "inf");
}

static void make_roc(struct lafs_roc *r, int n, double gap)
{
    float *x = malloc((size_t)n * sizeof *x);
    uint8_t *y = malloc((size_t)n);
    struct lafs_rng g;
    struct lafs_scores s;
    lafs_rng_init(&g, lafs_rng_key(5, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < n; i++) y[i] = i % 2, x[i] = (float)(lafs_rng_normal(&g) + (y[i] ? gap : 0));
    if (lafs_scores_sort(&s, x, y, n, &err) != LAFS_OK || lafs_roc_build(r, &s, &err) != LAFS_OK) abort();
    lafs_scores_release(&s);
    free(x);
    free(y);
}

TEST(roc_and_det)
{
    struct lafs_roc a, b;
    struct lafs_buf out;
    make_roc(&a, 2000, 2);
    make_roc(&b, 2000, 1);
    const struct lafs_roc *both[] = {&a, &b};
    const char *label[] = {"a <&> \"b\"", "pixel"};
    lafs_buf_init(&out);
    REQUIRE_OK(lafs_plot_roc(&out, both, label, 2, "ROC", &err), &err);
    const char *s = lafs_buf_str(&out);
    CHECK(well_formed(s));
    CHECK_INT(count(s, "<path"), 3); /* two curves and chance */
    CHECK(strstr(s, "a &lt;&amp;&gt; &quot;b&quot;"));
    CHECK(strstr(s, "false accept rate"));
    lafs_buf_clear(&out);
    REQUIRE_OK(lafs_plot_det(&out, both, label, 2, "DET", &err), &err);
    CHECK(well_formed(lafs_buf_str(&out)));
    CHECK(lafs_plot_roc(&out, both, label, 0, "", &err) == LAFS_USAGE);
    lafs_buf_release(&out);
    lafs_roc_release(&a);
    lafs_roc_release(&b);
}

TEST(perfect_scores_make_a_picture_too)
{
    struct lafs_scores s;
    struct lafs_roc r;
    struct lafs_buf out;
    lafs_buf_init(&out);
    REQUIRE_OK(lafs_scores_sort(&s, (float[]){1, 0}, (uint8_t[]){1, 0}, 2, &err), &err);
    REQUIRE_OK(lafs_roc_build(&r, &s, &err), &err);
    const struct lafs_roc *one = &r;
    const char *label = "x";
    REQUIRE_OK(lafs_plot_roc(&out, &one, &label, 1, NULL, &err), &err);
    REQUIRE_OK(lafs_plot_det(&out, &one, &label, 1, NULL, &err), &err);
    CHECK(!strstr(lafs_buf_str(&out), "nan"));
    lafs_buf_release(&out);
    lafs_roc_release(&r);
    lafs_scores_release(&s);
}

TEST(a_million_points_make_a_small_picture)
{
    enum { N = 1000000 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    struct lafs_rng g;
    struct lafs_buf out;
    lafs_rng_init(&g, lafs_rng_key(6, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < N; i++) x[i] = i, y[i] = lafs_rng_normal(&g);
    y[N / 2] = 100; /* a spike that must be seen */
    struct lafs_series s = {.label = "noise", .x = x, .y = y, .n = N};
    struct lafs_plot p = {"t", {"step"}, {"v"}, &s, 1};
    lafs_buf_init(&out);
    REQUIRE_OK(lafs_plot_svg(&out, &p, 640, 480, &err), &err);
    CHECK(well_formed(lafs_buf_str(&out)));
    CHECK(out.size < 200000);
    const char *path = strstr(lafs_buf_str(&out), " d=\"");
    double top = INFINITY;
    for (const char *q = path; *q != '>'; q++)
        if (*q == 'L' || *q == 'M') {
            double u, v;
            if (sscanf(q + 1, "%lf %lf", &u, &v) == 2 && v < top) top = v;
        }
    CHECK(top < 100); /* the frame begins at 34; noise alone would stay in its lower part */
    lafs_buf_release(&out);
    free(x);
    free(y);
}

TEST(holes_and_odd_ranges)
{
    double x[] = {0, 1, 2, 3, 4}, y[] = {1, NAN, 3, INFINITY, 5}, flat[] = {7, 7, 7, 7, 7},
           none[] = {-1, -1, 0, -2, NAN};
    struct lafs_series s[] = {{.label = "holes", .x = x, .y = y, .n = 5},
                              {.x = x, .y = flat, .n = 5},
                              {.x = x, .y = none, .n = 5},
                              {.x = x, .y = x, .n = 0},
                              {.x = x, .y = flat, .n = 5, .dots = 1}};
    struct lafs_plot p[] = {{"a", {"x"}, {"y"}, s, 1},
                            {"b", {"x"}, {"y"}, s + 1, 1},
                            {"c", {"x"}, {"y", 0, 0, 1}, s + 2, 1},
                            {"d", {"x"}, {"y"}, s + 3, 1},
                            {"e", {"x"}, {"y"}, s + 4, 1}};
    struct lafs_buf out;
    lafs_buf_init(&out);
    REQUIRE_OK(lafs_plot_grid_svg(&out, p, 5, 2, 800, 900, &err), &err);
    const char *text = lafs_buf_str(&out);
    CHECK(well_formed(text));
    CHECK_INT(count(text, "<svg"), 1);
    CHECK_INT(count(text, "<circle"), 5);
    CHECK_INT(count(strstr(text, " d=\"M"), "M"), 3 + 1); /* three pieces, then one flat line */
    lafs_buf_release(&out);
}

TEST_MAIN(roc_and_det, perfect_scores_make_a_picture_too, a_million_points_make_a_small_picture, holes_and_odd_ranges)
