/* lafs-detect: photos in, one aligned face per record out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "cmd/cli.h"
#include "cmd/filter.h"
#include "cmd/models.h"
#include "data/face.h"
#include "image/align.h"
#include "image/quality.h"
#include "model/detector.h"
#include "model/refiner.h"

#define DEFAULT_MODEL "detector.safetensors"
#define DEFAULT_REFINER "refiner.safetensors"
enum { JPEG_QUALITY = 95 };
/* Refined points of a smaller confidence are taken for no face's: the detector's stay. A choice, not a measurement. */
static const float LEAST_CONFIDENCE = 0.1f;

static struct {
    const char *model, *refiner, *scales;
    int best, one_scale, no_crop, no_refine, align_only, raw;
    double min_score, min_quality;
    int64_t size, min_size;
} o = {.min_score = 0.8, .size = 112};

static const struct cli_option table[] = {
    {"model", 'm', CLI_STRING, &o.model, "FILE", "the detector's weights", 0, 0, "the installed one"},
    {"refiner", 0, CLI_STRING, &o.refiner, "FILE", "the weights that refine the detector's points", 0, 0,
     "the installed one"},
    {"no-refine", 0, CLI_FLAG, &o.no_refine, NULL, "take the points as the detector gives them"},
    {"best", 0, CLI_FLAG, &o.best, NULL, "keep one face a photo, the largest and most central"},
    {"min-score", 0, CLI_DOUBLE, &o.min_score, "SCORE", "drop faces below SCORE", 0, 1, "0.8"},
    {"min-size", 0, CLI_INT, &o.min_size, "N", "drop faces whose box has a side shorter than N pixels", 0, 65500, "0"},
    {"min-quality", 0, CLI_DOUBLE, &o.min_quality, "Q", "drop faces of a quality below Q", 0, 1, "0"},
    {"scales", 0, CLI_STRING, &o.scales, "LIST", "factors by which to resize photos, like 0.5,1,2, or auto", 0, 0,
     "auto"},
    {"one-scale", 0, CLI_FLAG, &o.one_scale, NULL, "look at photos in their own size only, as --scales 1"},
    {"size", 0, CLI_INT, &o.size, "N", "side of the crops, a multiple of 112", 112, 1120, "112"},
    {"raw", 0, CLI_FLAG, &o.raw, NULL, "write crops as raw pixels, not as JPEG"},
    {"no-crop", 0, CLI_FLAG, &o.no_crop, NULL, "keep the photo: add what was found of each face only"},
    {"align-only", 0, CLI_FLAG, &o.align_only, NULL, "find nothing: align by the points that records have"},
    CLI_OUT, CLI_SHARDS,
    CLI_JOBS,
    CLI_DEVICE,
    CLI_TAKE,
    CLI_MAX_PIXELS,
    CLI_MAX_BAD,
    CLI_REJECTS,
    CLI_LOG,
    CLI_PRESET,
    CLI_ALWAYS,
    {0}};
static const struct cli_program program = {"lafs-detect", "[OPTION]... [PHOTOS]...",
                                           "find faces in photos and align them", table};

/* One face of a photo, wherever it came from. */
struct face {
    const char *key;       /* the face's */
    const float *box;      /* (4) in the photo, or NULL */
    double score;          /* < 0: none */
    const float *points;   /* (5,2) in the photo */
    const float *points68; /* (68,2) in the photo, or NULL */
    double refined;        /* confidence of the refined points, < 0: they are as the detector gives them */
    int own;               /* 1: it is the record's, and so is what else the record says of a face */
};

struct job {
    struct lafs_st *weights, *refiner_weights; /* the latter NULL: no refining */
    struct lafs_detect_options detect;
    struct worker {
        struct lafs_backend backend;
        struct lafs_detector *detector; /* opened on first use */
        struct lafs_refiner *refiner;   /* likewise */
        struct lafs_refined *refined;   /* (refined_cap) of a photo's faces */
        float *points;                  /* (refined_cap,5,2) */
        size_t refined_cap;
        struct lafs_image photo, crop, judged;
        struct lafs_sample rest; /* the photo's record without its picture, that --no-crop keeps */
        struct lafs_buf bytes;
    } *worker;
    int workers;
};

/* -- the output record -- */

/* The bounding rectangle of a mapped box. */
static void map_box(const double m[6], const float box[4], float out[4])
{
    float corner[8] = {box[0], box[1], box[0] + box[2], box[1],
                       box[0], box[1] + box[3], box[0] + box[2], box[1] + box[3]};
    lafs_affine_apply(m, corner, 4, corner);
    float left = corner[0], top = corner[1], right = left, bottom = top;
    for (int i = 1; i < 4; i++) {
        left = corner[2 * i] < left ? corner[2 * i] : left;
        right = corner[2 * i] > right ? corner[2 * i] : right;
        top = corner[2 * i + 1] < top ? corner[2 * i + 1] : top;
        bottom = corner[2 * i + 1] > bottom ? corner[2 * i + 1] : bottom;
    }
    memcpy(out, (float[]){left, top, right - left, bottom - top}, 4 * sizeof *out);
}

/* The key that the photo had at first: what an earlier step has noted, else its own. */
static void pack_first_key(struct lafs_buf *b, const struct lafs_sample *in)
{
    const void *src, *value;
    size_t size, len;
    if (lafs_sample_raw(in, "src", &src, &size) == LAFS_OK &&
        lafs_map_find(src, size, "key", &value, &len, NULL) == LAFS_OK)
        lafs_buf_put(b, value, len);
    else
        lafs_pack_str(b, lafs_sample_key(in));
}

/* Field `src`: what this face came from. matrix NULL: the photo was kept. */
static void set_src(struct lafs_sample *out, const struct lafs_sample *in, const struct lafs_image *photo,
                    const struct face *f, const double *matrix)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_pack_map(&b, 2 + (f->box && matrix ? 1 : 0) + (matrix ? 2 : 0));
    lafs_pack_str(&b, "key");
    pack_first_key(&b, in);
    lafs_pack_str(&b, "size");
    lafs_pack_array(&b, 2);
    lafs_pack_int(&b, photo->w);
    lafs_pack_int(&b, photo->h);
    if (f->box && matrix) {
        lafs_pack_str(&b, "box");
        lafs_pack_nd(&b, "<f4", (int64_t[]){4}, 1, f->box, 4);
    }
    if (matrix) {
        lafs_pack_str(&b, "points");
        lafs_pack_nd(&b, "<f4", (int64_t[]){5, 2}, 2, f->points, 4);
        lafs_pack_str(&b, "matrix");
        lafs_pack_nd(&b, "<f8", (int64_t[]){2, 3}, 2, matrix, 8);
    }
    if (b.failed) out->buf.failed = 1;
    lafs_sample_set_raw(out, "src", b.data, b.size);
    lafs_buf_release(&b);
}

/* What described the photo, whose pictures are gone already, and does not describe the crop. */
static void drop_stale(struct lafs_sample *s)
{
    static const char *const stale[] = {"box",   "points",    "landmarks", "patches",
                                        "views", "embedding", "refined",   "quality"};
    for (size_t i = 0; i < sizeof stale / sizeof *stale; i++) lafs_sample_del(s, stale[i]);
}

/* w->crop, as it goes into the record. */
static lafs_status put_crop(struct lafs_sample *out, struct worker *w, struct lafs_err *err)
{
    if (o.raw) {
        lafs_sample_set_u8(out, "rgb", (int64_t[]){o.size, o.size, 3}, 3, w->crop.px);
        return LAFS_OK;
    }
    lafs_buf_clear(&w->bytes);
    LAFS_TRY(lafs_jpeg_encode(&w->bytes, &w->crop, JPEG_QUALITY, err));
    lafs_sample_set_bin(out, "jpg", w->bytes.data, w->bytes.size);
    return LAFS_OK;
}

/* Photo -> crop of `size` pixels by the face's points, into the picture. */
static lafs_status cut(struct worker *w, const struct face *f, int size, double m[6], struct lafs_image *to,
                       struct lafs_err *err)
{
    float template[10];
    lafs_align_template(size, template);
    LAFS_TRY(lafs_similarity(f->points, template, 5, m, err));
    LAFS_TRY(lafs_image_new(to, size, size, err));
    return lafs_warp_affine(&w->photo, m, to, err);
}

/* Cuts w->crop (unless the photo is kept), and judges the face. m: photo -> crop of the size that is wanted. */
static lafs_status cut_and_judge(struct worker *w, const struct face *f, double m[6], struct lafs_quality *q,
                                 struct lafs_err *err)
{
    int whole = o.size == LAFS_QUALITY_SIDE;
    double judged[6];
    if (!o.no_crop || whole) LAFS_TRY(cut(w, f, (int)o.size, m, &w->crop, err));
    if (!whole) LAFS_TRY(cut(w, f, LAFS_QUALITY_SIDE, judged, &w->judged, err));
    return lafs_quality_of(whole ? &w->crop : &w->judged, &w->photo, whole ? m : judged, f->points, f->score,
                           f->refined, q, err);
}

static void set_quality(struct lafs_sample *out, const struct lafs_quality *q)
{
    const float parts[4] = {q->size, q->sharpness, q->pose, q->sure};
    lafs_sample_set_double(out, "quality", q->value);
    lafs_sample_set_f32(out, "quality_parts", (int64_t[]){4}, 1, parts);
}

/* Whether the box is about the face of which these are 68 points. */
static int holds_most(const float box[4], const float *p68)
{
    int inside = 0;
    for (int i = 0; i < 68; i++)
        inside += p68[2 * i] >= box[0] && p68[2 * i] <= box[0] + box[2] && p68[2 * i + 1] >= box[1] &&
                  p68[2 * i + 1] <= box[1] + box[3];
    return inside > 34;
}

/* *kept 0: its quality is too low, and out is empty. */
static lafs_status put_face(struct lafs_sample *out, const struct lafs_sample *in, struct worker *w,
                            const struct face *f, int *kept, struct lafs_err *err)
{
    float points[10], box[4], p68[136];
    double m[6];
    struct lafs_quality quality;
    LAFS_TRY(cut_and_judge(w, f, m, &quality, err));
    *kept = quality.value >= o.min_quality;
    if (!*kept) return LAFS_OK;
    LAFS_TRY(lafs_sample_copy(out, in, err));
    lafs_sample_set_str(out, "key", f->key);
    int known = lafs_sample_f32(in, "points68", (int64_t[]){68, 2}, 2, p68, 136, NULL) == LAFS_OK;
    if (known && !f->own) known = !lafs_sample_has(in, "refined") && holds_most(f->box, p68);
    if (!known) lafs_sample_del(out, "points68");
    lafs_sample_del(out, "refined");
    if (!known && f->points68) memcpy(p68, f->points68, sizeof p68);
    if (o.no_crop) {
        if (f->box) lafs_sample_set_f32(out, "box", (int64_t[]){4}, 1, f->box);
        lafs_sample_set_f32(out, "points", (int64_t[]){5, 2}, 2, f->points);
        if (!known && f->points68) lafs_sample_set_f32(out, "points68", (int64_t[]){68, 2}, 2, p68);
    } else {
        drop_stale(out);
        LAFS_TRY(put_crop(out, w, err));
        if (f->box) {
            map_box(m, f->box, box);
            lafs_sample_set_f32(out, "box", (int64_t[]){4}, 1, box);
        }
        lafs_affine_apply(m, f->points, 5, points);
        lafs_sample_set_f32(out, "points", (int64_t[]){5, 2}, 2, points);
        if (known || f->points68) {
            lafs_affine_apply(m, p68, 68, p68);
            lafs_sample_set_f32(out, "points68", (int64_t[]){68, 2}, 2, p68);
        }
    }
    if (f->score >= 0) lafs_sample_set_double(out, "score", f->score);
    if (f->refined >= 0) lafs_sample_set_double(out, "refined", f->refined);
    set_quality(out, &quality);
    set_src(out, in, &w->photo, f, o.no_crop ? NULL : m);
    return lafs_sample_check(out, err);
}

/* -- one photo -- */

/* The second look at n faces: w->refined[0..n). */
static lafs_status refine(struct job *j, struct worker *w, const struct lafs_detected *face, int n,
                          struct lafs_err *err)
{
    if (!w->refiner) LAFS_TRY(lafs_refiner_open(&w->refiner, &w->backend, j->refiner_weights, err));
    if ((size_t)n > w->refined_cap) {
        lafs_free(w->refined);
        lafs_free(w->points);
        w->refined = NULL;
        w->points = NULL;
        w->refined_cap = 0;
        LAFS_TRY(lafs_alloc(&w->refined, (size_t)n, sizeof *w->refined, err));
        LAFS_TRY(lafs_alloc(&w->points, (size_t)n, 10 * sizeof *w->points, err));
        w->refined_cap = (size_t)n;
    }
    for (int i = 0; i < n; i++) memcpy(w->points + 10 * i, face[i].points, sizeof face[i].points);
    return lafs_refine(w->refiner, &w->photo, n, w->points, w->refined, err);
}

static lafs_status find_faces(struct job *j, struct worker *w, struct filter_item *it)
{
    struct lafs_faces faces;
    char key[LAFS_MAX_KEY + 32];
    if (!w->detector) {
        LAFS_TRY(lafs_backend_open(&w->backend, cli.device, NULL, NULL, &it->err));
        LAFS_TRY(lafs_detector_open(&w->detector, &w->backend, j->weights, &it->err));
    }
    LAFS_TRY(lafs_detect(w->detector, &w->photo, &j->detect, &faces, &it->err));
    int first = 0, end = faces.n, n = 0, poor = 0;
    if (o.best && faces.n) {
        first = lafs_faces_best(&faces, w->photo.w, w->photo.h);
        end = first + 1;
    }
    lafs_status rc = filter_reserve(it, end > first ? end - first : 1, &it->err);
    if (rc == LAFS_OK && j->refiner_weights && end > first)
        rc = refine(j, w, faces.v + first, end - first, &it->err);
    for (int i = first; i < end && rc == LAFS_OK; i++) {
        const struct lafs_detected *d = &faces.v[i];
        snprintf(key, sizeof key, o.best ? "%s" : "%s-f%d", lafs_sample_key(&it->in), n);
        struct face f = {o.best ? lafs_sample_key(&it->in) : key, d->box, d->score, d->points, NULL, -1, 0};
        const struct lafs_refined *second = j->refiner_weights ? &w->refined[i - first] : NULL;
        if (second) f.refined = second->confidence;
        if (second && second->looked && second->confidence >= LEAST_CONFIDENCE) {
            f.points = second->points;
            f.points68 = second->points68;
        }
        int kept = 0;
        rc = put_face(&it->out[n], o.no_crop ? &w->rest : &it->in, w, &f, &kept, &it->err);
        n += kept;
        poor += rc == LAFS_OK && !kept;
        if (rc == LAFS_BAD_RECORD) rc = LAFS_OK; /* points that no face has */
    }
    lafs_faces_release(&faces);
    if (n == 0) it->verdict = poor ? FILTER_DROP : FILTER_NO_FACE;
    else it->n = n;
    return rc;
}

static lafs_status align(struct worker *w, struct filter_item *it)
{
    float points[10], p68[136], box[4];
    double score = -1;
    lafs_status rc = lafs_sample_f32(&it->in, "points", (int64_t[]){5, 2}, 2, points, 10, &it->err);
    if (rc == LAFS_END) {
        rc = lafs_sample_f32(&it->in, "points68", (int64_t[]){68, 2}, 2, p68, 136, &it->err);
        if (rc == LAFS_OK) lafs_points68_to_5(p68, points);
    }
    if (rc == LAFS_END)
        return lafs_fail(&it->err, LAFS_BAD_RECORD, "nothing to align by: neither field 'points' nor 'points68'");
    LAFS_TRY(rc);
    struct face f = {lafs_sample_key(&it->in), NULL, -1, points, NULL, -1, 1};
    rc = lafs_sample_f32(&it->in, "box", (int64_t[]){4}, 1, box, 4, &it->err);
    if (rc == LAFS_OK) f.box = box;
    else if (rc != LAFS_END) return rc;
    if (lafs_sample_double(&it->in, "score", &score, NULL) == LAFS_OK) f.score = score;
    if (lafs_sample_double(&it->in, "refined", &score, NULL) == LAFS_OK) f.refined = score;
    int kept = 1;
    rc = put_face(&it->out[0], &it->in, w, &f, &kept, &it->err);
    if (!kept) it->verdict = FILTER_DROP;
    return rc;
}

static lafs_status each(void *arg, struct filter_item *it, int worker)
{
    struct job *j = arg;
    struct worker *w = &j->worker[worker];
    LAFS_TRY(lafs_face_image(&it->in, cli.max_pixels, &w->photo, &it->err));
    if (o.no_crop) {
        LAFS_TRY(lafs_sample_copy(&w->rest, &it->in, &it->err));
        lafs_face_hollow(&w->rest);
    } else {
        lafs_face_del(&it->in);
    }
    return o.align_only ? align(w, it) : find_faces(j, w, it);
}

/* Of --no-crop: each face has the photo, but not before its turn to be written. */
static void put_photo(void *arg, const struct filter_item *it, struct lafs_sample *whole)
{
    (void)arg;
    lafs_face_fill(whole, &it->in);
}

/* -- the whole -- */

static lafs_status header(void *arg, const struct lafs_header *in, struct lafs_header *out, struct lafs_err *err)
{
    (void)arg;
    if (!strcmp(in->pixels.aligner, "arcface5"))
        return lafs_fail(err, LAFS_USAGE,
                         "the input is not photos but faces that are aligned already (%d pixels, arcface5)",
                         in->pixels.size);
    if (!strcmp(in->pixels.channels, "bgr"))
        return lafs_fail(err, LAFS_USAGE,
                         "the input's channels are bgr, this program takes rgb: see lafs-shard --channels");
    if (o.no_crop) return LAFS_OK;
    out->pixels = (struct lafs_pixels){.size = (int)o.size, .aligner = "arcface5", .channels = "rgb"};
    return LAFS_OK;
}

static void parse_scales(struct lafs_detect_options *d)
{
    if (o.one_scale && o.scales) cli_misuse("--one-scale and --scales exclude each other");
    if (o.one_scale) {
        d->scales = 1;
        d->scale[0] = 1;
    }
    if (!o.scales || !strcmp(o.scales, "auto")) return;
    for (const char *p = o.scales;; p++) {
        char one[32];
        size_t n = strcspn(p, ",");
        double v = 0;
        snprintf(one, sizeof one, "%.*s", (int)(n < sizeof one ? n : sizeof one - 1), p);
        if (!lafs_parse_double(one, &v) || !(v >= 1.0 / 64 && v <= 8))
            cli_misuse("--scales: '%s' is not a factor within 1/64 to 8", one);
        if (d->scales == LAFS_MAX_SCALES) cli_misuse("--scales: more than %d factors", LAFS_MAX_SCALES);
        d->scale[d->scales++] = (float)v;
        p += n;
        if (!*p) break;
    }
}

static void check_usage(void)
{
    if (o.size % 112) cli_misuse("--size: %lld is not a multiple of 112", (long long)o.size);
    if (o.no_crop && (o.raw || cli_given(&o.size)))
        cli_misuse("--no-crop keeps the photo as it is: --raw and --size have nothing to do");
    if (o.no_crop && o.align_only) cli_misuse("--no-crop and --align-only together leave nothing to do");
    if (o.align_only && (o.model || o.best || o.scales || o.one_scale || o.refiner || o.no_refine))
        cli_misuse("--align-only finds nothing: no --model, --best, --scales, --one-scale, --refiner or --no-refine");
    if (o.align_only && (cli_given(&o.min_score) || cli_given(&o.min_size)))
        cli_misuse("--align-only drops no face by its score or size: no --min-score or --min-size");
    if (o.refiner && o.no_refine) cli_misuse("--refiner and --no-refine exclude each other");
}

static lafs_status open_model(struct job *j, char digest[65], struct lafs_err *err)
{
    const char *path = o.model ? o.model : find_model(DEFAULT_MODEL);
    if (!path)
        return lafs_fail(
            err, LAFS_FAILED,
            "no detector model: none is installed, and no -m FILE is given. 'lafs-convert -o "
            "yunet.safetensors yunet_n_320_320.onnx' makes one of the published YuNet weights; see lafs-model(5)");
    LAFS_TRY(lafs_sha256_file(path, digest, err));
    LAFS_TRY(lafs_st_open(&j->weights, path, err));
    struct worker *w = &j->worker[0];
    const char *why = NULL;
    LAFS_TRY(lafs_backend_open(&w->backend, cli.device, NULL, &why, err));
    if (why) cli_warn("device %s", why);
    lafs_status rc = lafs_detector_open(&w->detector, &w->backend, j->weights, err);
    return rc == LAFS_OK ? rc : lafs_err_prefix(err, "'%s'", path);
}

/* The refiner's weights, where there are any. */
static lafs_status open_refiner(struct job *j, char digest[65], struct lafs_err *err)
{
    const char *path = o.no_refine ? NULL : o.refiner ? o.refiner : find_model(DEFAULT_REFINER);
    if (!path) return LAFS_OK;
    LAFS_TRY(lafs_sha256_file(path, digest, err));
    LAFS_TRY(lafs_st_open(&j->refiner_weights, path, err));
    struct worker *w = &j->worker[0];
    lafs_status rc = lafs_refiner_open(&w->refiner, &w->backend, j->refiner_weights, err);
    return rc == LAFS_OK ? rc : lafs_err_prefix(err, "'%s'", path);
}

static void release(struct job *j)
{
    for (int i = 0; i < j->workers; i++) {
        struct worker *w = &j->worker[i];
        lafs_detector_close(w->detector);
        lafs_refiner_close(w->refiner);
        lafs_free(w->refined);
        lafs_free(w->points);
        if (w->backend.ops) lafs_backend_close(&w->backend);
        lafs_image_release(&w->photo);
        lafs_image_release(&w->crop);
        lafs_image_release(&w->judged);
        lafs_sample_release(&w->rest);
        lafs_buf_release(&w->bytes);
    }
    lafs_free(j->worker);
    lafs_st_close(j->weights);
    lafs_st_close(j->refiner_weights);
}

int main(int argc, char **argv)
{
    int n;
    char **args = cli_parse(&program, argc, argv, &n), digest[65], refiner_digest[65];
    struct job j = {.detect = LAFS_DETECT_DEFAULT};
    struct lafs_err err = {0};
    check_usage();
    parse_scales(&j.detect);
    j.detect.min_score = (float)o.min_score;
    j.detect.min_size = (float)o.min_size;
    j.workers = lafs_pool_threads(cli_pool());
    lafs_status rc = lafs_alloc0(&j.worker, (size_t)j.workers, sizeof *j.worker, &err);
    if (rc == LAFS_OK && !o.align_only) rc = open_model(&j, digest, &err);
    if (rc == LAFS_OK && !o.align_only) rc = open_refiner(&j, refiner_digest, &err);
    int status;
    if (rc == LAFS_OK) {
        const char *const name[] = {"model", "refiner"}, *const value[] = {digest, refiner_digest};
        int digests = o.align_only ? 0 : j.refiner_weights ? 2 : 1;
        struct filter f = {.program = &program, .arg = &j, .what = "photos", .each = each, .header = header};
        if (o.no_crop) f.complete = put_photo;
        status = filter_run(&f, (const char *const *)args, n, name, value, digests);
    } else {
        status = cli_fail(&err);
    }
    if (rc == LAFS_OK || j.worker) release(&j);
    return cli_finish(status);
}
