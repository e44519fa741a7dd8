/* The detector's network against the golden outputs, on the reference and on the CPU; and with SHARED=../shared the
 * published weights on a real photo. */
#include "tests/golden/golden.h"

#include <unistd.h>

#include "format/onnx.h"
#include "model/detector.h"

static const char *const parts[4] = {"cls", "bbox", "obj", "kps"};
static const int width[4] = {1, 4, 1, 10};

/* One of the 12 outputs from the cells of a level: (cells, width), sigmoids applied to cls and obj. */
static float *output(const float *cells, int64_t n, int part)
{
    int at = part == 0 ? 0 : part == 1 ? 1 : part == 2 ? 5 : 6;
    float *v = golden_alloc((size_t)(n * width[part]), sizeof *v);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < width[part]; k++) {
            float x = cells[i * LAFS_DETECTOR_CELL + at + k];
            v[i * width[part] + k] = part % 2 ? x : 1 / (1 + expf(-x));
        }
    return v;
}

static struct lafs_st *through_file(const struct lafs_detector_tensors *ts)
{
    char path[] = "/tmp/lafs-yunet-XXXXXX";
    int fd = mkstemp(path);
    struct lafs_err err;
    struct lafs_st *st = NULL;
    if (fd < 0 || close(fd)) FAIL_("no temporary file");
    else if (lafs_st_write(path, ts->t, 2 * LAFS_DETECTOR_CONVS, NULL, 0, &err) != LAFS_OK) FAIL_("%s", err.msg);
    else if (lafs_st_open(&st, path, &err) != LAFS_OK) FAIL_("%s", err.msg);
    if (fd >= 0) unlink(path);
    return st;
}

static struct lafs_st *filled_weights(void)
{
    struct lafs_detector_tensors ts;
    lafs_detector_tensors(&ts);
    for (int i = 0; i < 2 * LAFS_DETECTOR_CONVS; i++) {
        float *v = golden_alloc((size_t)ts.t[i].count, sizeof *v);
        golden_weight(ts.name[i], ts.t[i].shape, ts.t[i].ndim, v);
        ts.t[i].data = v;
    }
    struct lafs_st *st = through_file(&ts);
    for (int i = 0; i < 2 * LAFS_DETECTOR_CONVS; i++) free((void *)(uintptr_t)ts.t[i].data);
    return st;
}

static void outputs(const char *device)
{
    struct lafs_backend b;
    struct lafs_err err;
    struct lafs_detector *d;
    const float *level[LAFS_DETECTOR_LEVELS];
    struct lafs_st *g = golden_open("yunet"), *weights = filled_weights();
    REQUIRE(g && weights);
    REQUIRE_OK(lafs_backend_open(&b, device, NULL, NULL, &err), &err);
    REQUIRE_OK(lafs_detector_open(&d, &b, weights, &err), &err);
    float *image = golden_new("yunet.image", 3 * 320 * 320, 0, 255); /* BGR planes */
    golden_nchw_to_nhwc(image, 1, 3, 320, 320);
    for (int i = 0; i < 320 * 320; i++) {
        float blue = image[3 * i];
        image[3 * i] = image[3 * i + 2];
        image[3 * i + 2] = blue;
    }
    REQUIRE_OK(lafs_detector_forward(d, 320, 320, image, level, &err), &err);
    for (int i = 0; i < LAFS_DETECTOR_LEVELS; i++)
        for (int part = 0; part < 4; part++) {
            int64_t n = (40 >> i) * (40 >> i);
            char name[32];
            snprintf(name, sizeof name, "fill/%s_%d", parts[part], 8 << i);
            float *v = output(level[i], n, part);
            golden_check(g, name, v, n * width[part], 1e-4);
            free(v);
        }
    free(image);
    lafs_detector_close(d);
    lafs_backend_close(&b);
    lafs_st_close(weights);
    lafs_st_close(g);
}
TEST(outputs_reference) { outputs("ref"); }
TEST(outputs_cpu) { outputs("cpu"); }

/* Largest value and sum of each column of an output. */
static void check_columns(const struct lafs_st *g, const char *part, int stride, const float *v, int64_t n, int w)
{
    char name[48];
    double top[10], sum[10], most = 0;
    for (int k = 0; k < w; k++) {
        top[k] = -INFINITY, sum[k] = 0;
        for (int64_t i = 0; i < n; i++) {
            double x = v[i * w + k];
            top[k] = x > top[k] ? x : top[k];
            sum[k] += x;
            most = fabs(x) > most ? fabs(x) : most;
        }
    }
    snprintf(name, sizeof name, "photo/%s_%d_max", part, stride);
    golden_check_f64(g, name, top, w, 1e-4);
    /* A sum may cancel: its error is judged by what was summed. */
    snprintf(name, sizeof name, "photo/%s_%d_sum", part, stride);
    int64_t count = 0;
    double *want = golden_values(g, name, &count);
    REQUIRE(want && count == w);
    for (int k = 0; k < w; k++) CHECK_NEAR(sum[k], want[k], 1e-4 * most * (double)n);
    free(want);
}

TEST(photo)
{
    const char *shared = getenv("SHARED");
    if (!shared) SKIP("SHARED is not set");
    char path[4096];
    struct lafs_err err;
    struct lafs_onnx *o;
    struct lafs_buf file;
    struct lafs_backend b;
    struct lafs_detector *d;
    struct lafs_detector_tensors ts;
    snprintf(path, sizeof path, "%s/weights/yunet_n_320_320.onnx", shared);
    lafs_buf_init(&file);
    REQUIRE_OK(lafs_buf_read_file(&file, path, 1 << 24, &err), &err);
    REQUIRE_OK(lafs_onnx_parse(&o, file.data, file.size, &err), &err);
    lafs_buf_release(&file);
    REQUIRE_OK(lafs_detector_from_onnx(o, &ts, &err), &err);
    snprintf(path, sizeof path, "%s/golden/yunet-photo.safetensors", shared);
    struct lafs_st *weights = through_file(&ts), *g = golden_open_path(path);
    lafs_onnx_close(o);
    REQUIRE(weights && g);
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &err), &err);
    REQUIRE_OK(lafs_detector_open(&d, &b, weights, &err), &err);
    const struct lafs_st_tensor *bgr = lafs_st_find(g, "photo/input");
    REQUIRE(bgr && bgr->count == 320 * 320 * 3);
    float *image = golden_alloc(320 * 320 * 3, sizeof *image);
    for (int i = 0; i < 320 * 320 * 3; i++) image[i] = ((const uint8_t *)bgr->data)[i / 3 * 3 + 2 - i % 3];
    const float *level[LAFS_DETECTOR_LEVELS];
    REQUIRE_OK(lafs_detector_forward(d, 320, 320, image, level, &err), &err);
    for (int i = 0; i < LAFS_DETECTOR_LEVELS; i++)
        for (int part = 0; part < 4; part++) {
            int64_t n = (40 >> i) * (40 >> i);
            float *v = output(level[i], n, part);
            check_columns(g, parts[part], 8 << i, v, n, width[part]);
            free(v);
        }
    free(image);
    lafs_detector_close(d);
    lafs_backend_close(&b);
    lafs_st_close(weights);
    lafs_st_close(g);
}

TEST_MAIN(outputs_reference, outputs_cpu, photo)
